#!/usr/bin/env perl
#
# judge.pl FILE...
#	  Tells what of the findings in these files has to be mended
#
# Findings are as gcc prints them, with notes that follow:
#
#	src/fold.c: In function 'fold':
#	src/fold.c:94:45: warning: dereference of NULL 'row' [CWE-476] [-Wanalyzer-null-dereference]
#
# Some are excepted in test/static/exceptions, by file, function and the word in
# the last brackets; and what is found in test/static/planted.* has to be.

use strict;
use warnings;

my $exceptions = 'test/static/exceptions';
my @planted = glob 'test/static/planted.*';

my %excepted;		# file, function, finding => line of its exception
my %expected;		# file:line and finding, as planted
my %told;			# what has been printed

my $bad = 0;

sub complain
{
	print @_;
	$bad++;
}

sub lines_of
{
	my ($name) = @_;

	open my $file, '<', $name or die "$name: $!\n";
	return <$file>;
}

# The function of C code, in PostgreSQL's layout, that a line is in
sub function_at
{
	my ($name, $line) = @_;
	my $function = '-';

	return $function unless $name =~ /\.[ch]$/ && -f $name;
	for ((lines_of($name))[0 .. $line - 1])
	{
		$function = $1 if /^(\w+)\(/;
		$function = '-' if /^\}/;
	}
	return $function;
}

sub read_exceptions
{
	my $argued = 0;

	for (lines_of($exceptions))
	{
		chomp;
		if (/^(\S+ \S+ \S+)$/ && !/^#/)
		{
			$excepted{$1} = 0;
			complain("$exceptions: no reason for: $_\n") unless $argued;
		}
		elsif (/^[^#]/)
		{
			complain("$exceptions: neither comment nor exception: $_\n");
		}
		$argued = /^#/ || /\S/ && $argued;
	}
}

# What comments in the files of mistakes say
sub read_planted
{
	for my $name (@planted)
	{
		my $line = 0;

		for (lines_of($name))
		{
			$line++;
			$expected{"$name:$line $_"} = 0
				for m{(?:;|\S\s)\s*(?:/\*|--) ([-\w ]+?)(?: \*/)?$} ? split(' ', $1) : ();
		}
	}
}

# What is to be said of a line of findings, and of the notes after it?
sub judge
{
	my ($in, $file, $line, $finding) = @_;

	if (grep { $_ eq $file } @planted)
	{
		return !exists $expected{"$file:$line $finding"} || !++$expected{"$file:$line $finding"};
	}

	my ($function_file, $function) = @$in ? @$in : ($file, function_at($file, $line));
	my $exception = "$function_file $function $finding";
	if (exists $excepted{$exception})
	{
		$excepted{$exception}++;
		return 0;
	}
	return 1;
}

sub read_findings
{
	my ($name) = @_;
	my @in;			# file and function, if it is told
	my $telling = 0;

	for (lines_of($name))
	{
		if (/^(\S+): In function '([-\w]+)'/)
		{
			@in = ($1, $2);
			$telling = 0;
		}
		elsif (/^(\S+): At top level:/)
		{
			@in = ($1, '-');
			$telling = 0;
		}
		elsif (/^(\S+?):(\d+):(?:\d+:)? (warning|error|fatal error): .*?(?:\[([^\[\]]+)\])?$/)
		{
			$telling = judge(\@in, $1, $2, $4 || $3) && !$told{$_}++;
			complain($_) if $telling;
		}
		elsif (/^\S+?:\d+:(?:\d+:)? note: /)
		{
			print "\t$_" if $telling;
		}
		elsif (!/^In file included from |^\s+from |: In function |^cc1: note/)
		{
			# a tool that could not do its work, perhaps
			complain($_) unless $told{$_}++;
		}
	}
}

read_exceptions();
read_planted();
read_findings($_) for @ARGV;
complain("$_: was planted, and is not found\n")
	for sort grep { !$expected{$_} } keys %expected;
complain("$exceptions: nothing is found that needs: $_\n")
	for sort grep { !$excepted{$_} } keys %excepted;

printf "%d planted mistakes found, %d exceptions, %d things to mend\n",
	scalar(grep { $expected{$_} } keys %expected), scalar(keys %excepted), $bad;
exit($bad > 0);
