#!/usr/bin/env perl
#
# script.pl FILE...
#	  Finds in scripts of the extension what would let others have a hand in it
#
# These are the checks that take the text of a script; test/static.sh tells of
# the others.  What is found is printed as gcc does, where the function is "-" if
# it is in none:
#
#	FILE: In function 'FUNCTION':
#	FILE:LINE: warning: MESSAGE [WORD]
#
# The script of an update (whatsapp--1.0--1.1.sql) may replace objects:
# PostgreSQL sees to it that they are the extension's.

use strict;
use warnings;

my $first_statement = 'SET LOCAL search_path = pg_catalog, pg_temp';

my $name;		# of the script
my $is_update;
my $function;	# that is made by the statement

sub warning
{
	my ($line, $message, $word) = @_;

	print "$name: In function '$function':\n";
	print "$name:$line: warning: $message [$word]\n";
}

# Take text apart: into [kind, text, line], where the kind is "word", "string",
# "body" (in dollars) or "mark".  Comments and white space are left out, and so
# are what psql is told.
sub tokens
{
	my ($text, $line) = @_;
	my @tokens;

	while ($text =~ m{\G(?:
		(?<skipped> \s+ | --[^\n]* | /\*.*?\*/ | ^\\[^\n]* )
		| (?<body> (?<dollars> \$ (?:[A-Za-z_]\w*)? \$) .*? \g{dollars} )
		| (?<string> [Ee]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' )
		| (?<word> \w+ | "(?:[^"]|"")*" )
		| (?<mark> . )
		)}gcsmx)
	{
		my ($kind) = grep { defined $+{$_} } qw(skipped body string word mark);
		my $part = $+{$kind};

		push @tokens, [$kind, $part, $line] unless $kind eq 'skipped';
		$line += $part =~ tr/\n//;
	}
	return @tokens;
}

# Tokens up to each semicolon
sub statements
{
	my @statements = ([]);

	for (@_)
	{
		if ($_->[1] eq ';') { push @statements, [] }
		else { push @{ $statements[-1] }, $_ }
	}
	return grep { @$_ } @statements;
}

sub words
{
	return join ' ', map { $_->[0] eq 'word' ? uc $_->[1] : $_->[0] eq 'body' ? '$$' : $_->[1] } @_;
}

# PS002, PS007: what is there already may be somebody else's, with an owner, a
# body or columns that he has chosen
sub check_creation
{
	my ($line, $sql) = @_;

	warning($line, 'replaces what is there', 'or-replace')
		if $sql =~ /\bOR REPLACE\b/i && !$is_update;
	warning($line, 'takes what is there', 'if-not-exists')
		if $sql =~ /\bIF NOT EXISTS (?!\()/i;
}

# The search path is set once, first of all, and by options of functions
sub check_search_path
{
	my ($line, $sql) = @_;

	warning($line, 'changes the search path', 'search-path')
		if $sql =~ /^(?:SET|RESET)\b.*\bSEARCH_PATH\b/i
		|| $sql =~ /\bSET_CONFIG \( '(?:pg_catalog\.)?search_path'/i;
	warning($line, 'pins the search path to something else', 'search-path')
		if $sql =~ /\bCREATE\b.*\bSET SEARCH_PATH\b(?! = PG_CATALOG , PG_TEMP [^,])/;
}

# A statement that is put together has names as %I and values as %L or
# parameters, in one format() of a constant
sub check_execute
{
	my (@tokens) = @_;

	for my $i (0 .. $#tokens)
	{
		next unless $tokens[$i][0] eq 'word' && uc $tokens[$i][1] eq 'EXECUTE';
		next if ($tokens[$i + 1][1] // '') =~ /^(?:FUNCTION|PROCEDURE|ON)$/i;

		my @expression;
		my $depth = 0;
		for my $token (@tokens[$i + 1 .. $#tokens])
		{
			last if $depth == 0 && $token->[1] =~ /^(?:INTO|USING|LOOP)$/i;
			push @expression, $token;
			$depth += $token->[1] eq '(' ? 1 : $token->[1] eq ')' ? -1 : 0;
			last if $depth == 0 && @expression > 1 && $token->[1] eq ')';
		}
		my $next = $tokens[$i + 1 + @expression];

		# what runs, if that can be told
		my ($sql) = grep { $_->[0] =~ /^(?:string|body)$/ } @expression[0 .. ($#expression > 2 ? 2 : 0)];
		my $is_sound = $sql && (@expression == 1 ||
			words(@expression[0, 1, 3]) =~ /^FORMAT \( [,)]$/
			&& $sql->[1] =~ s/%%//gr !~ /%(?!(?:\d+\$)?[IL])/
			&& (!$next || $next->[1] =~ /^(?:INTO|USING|LOOP)$/i));

		check_creation($sql->[2], join ' ', $sql->[1] =~ /\w+|[^\s\w]/g) if $sql;
		warning($tokens[$i][2], 'runs what was put together without quotes', 'execute')
			unless $is_sound;
	}
}

sub check_statement
{
	my ($statement) = @_;
	my @tokens = @$statement;
	my $line = $tokens[0][2];

	check_creation($line, words(grep { $_->[0] ne 'string' } @tokens));
	check_search_path($line, words(@tokens));
	check_execute(@tokens);
	check_body($_) for grep { $_->[0] eq 'body' } @tokens;
}

# In PL/pgSQL, statements also begin after THEN, ELSE, LOOP and BEGIN
sub check_body
{
	my ($body) = @_;
	my ($text) = $body->[1] =~ /^\$\w*\$(.*)\$\w*\$$/s;
	my @tokens;

	for (tokens($text, $body->[2]))
	{
		push @tokens, $_;
		push @tokens, ['mark', ';', $_->[2]]
			if $_->[0] eq 'word' && $_->[1] =~ /^(?:THEN|ELSE|LOOP|BEGIN)$/i;
	}
	check_statement($_) for statements(@tokens);
}

sub check_script
{
	my $text = do { local $/; open my $file, '<', $name or die "$name: $!\n"; <$file> };
	my @statements = statements(tokens($text, 1));
	my $first = shift @statements;

	warning($first->[0][2], 'does not refuse to be run by psql', 'quit')
		unless $text =~ /\A(?:--[^\n]*\n|\s*\n)*\\echo [^\n]*\\quit\n/;
	warning($first->[0][2], "does not begin with $first_statement", 'first')
		unless words(@$first) eq words(tokens($first_statement, 1));
	for (@statements)
	{
		($function) = words(@$_) =~ /^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (?:\w+ \. )?(\w+)/;
		$function = defined $function ? lc $function : '-';
		check_statement($_);
	}
}

for (@ARGV)
{
	$name = $_;
	$function = '-';
	$is_update = $name =~ /--.*--/;
	check_script();
}
