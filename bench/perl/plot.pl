#!/usr/bin/env perl
#
# plot.pl
#	  Draws how costs grow, from the raw results of benchmarks, as SVG
#
#	BENCH="scaling filing" OUT=results.tsv make bench
#	bench/perl/plot.pl results.tsv docs/plots
#
# There is a chart for each series of POINTs of a benchmark, named for both.
# Series whose names are the same up to a comma are lines of one chart, and have
# what comes after it at their right ends.  The axis of what grows is
# logarithmic, with zero, if there is any, at its left end; that of costs begins
# at zero.  Colors are such that it can be read on a light page and on a dark one.

use strict;
use warnings;

use File::Path qw(make_path);
use List::Util qw(max min);
use POSIX qw(ceil floor);

use constant {
	WIDTH => 640,
	HEIGHT => 360,
	LEFT => 64,
	RIGHT => 110,
	TOP => 44,
	BOTTOM => 60,
};

my @colors = map { "#$_" } qw(2f81c7 d9731a 2e9e5b b0549e 8a7a1f c94f4f);
my $style = <<'CSS';
text { font: 13px sans-serif; fill: #444; }
.title { font-size: 15px; fill: #222; }
.grid { stroke: #888; stroke-opacity: 0.3; }
.axis { stroke: #888; }
.line { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
	text { fill: #bbb; }
	.title { fill: #ddd; }
}
CSS

die "Usage: plot.pl RESULTS DIRECTORY\n" if @ARGV != 2;
my ($results, $dir) = @ARGV;
my ($machine, @charts) = read_results($results);

die "There is nothing to plot in $results.\n" if !@charts;
make_path($dir);
foreach my $chart (@charts)
{
	my $file = "$dir/$chart->{id}.svg";

	open(my $svg, '>', $file) or die "$file: $!\n";
	print $svg draw($chart, $machine);
	close($svg) or die "$file: $!\n";
	print "$file\n";
}

# -- What there is to draw -----------------------------------------------------

# Returns what all of it was measured on, and the charts in the order of the file.
sub read_results
{
	my ($file) = @_;
	my (%machine, %charts, @charts);

	open(my $lines, '<', $file) or die "$file: $!\n";
	while (my $line = <$lines>)
	{
		chomp $line;
		my ($what, @values) = split(/\t/, $line);

		$machine{ $values[0] } = $values[1] if $what eq 'MACHINE';
		next if $what ne 'POINT';
		my ($bench, $series, $x, $y, $unit) = @values;
		my ($name, $of) = split(/, */, $series, 2);
		my $id = lc("$bench-$name") =~ s/[^a-z0-9]+/-/gr;

		push @charts, $charts{$id} = { id => $id, name => $name, unit => $unit, lines => [] }
		  if !$charts{$id};
		push_point($charts{$id}, $of // '', $x, $y);
	}
	return (
		join(', ', grep { $_ } $machine{CPU}, $machine{cores} && "$machine{cores} cores",
			$machine{PostgreSQL} && 'PostgreSQL ' . $machine{PostgreSQL} =~ s/ .*//r),
		@charts);
}

sub push_point
{
	my ($chart, $name, $x, $y) = @_;
	my ($line) = grep { $_->{name} eq $name } @{ $chart->{lines} };

	push @{ $chart->{lines} }, $line = { name => $name, points => [] } if !$line;
	push @{ $line->{points} }, [ $x, $y ];
	return;
}

# -- Axes ----------------------------------------------------------------------

# The ticks of an axis from 0 to where a number has its place: at most seven, and
# 1, 2 or 5 apart, with zeros after it or before it
sub linear_ticks
{
	my ($top) = @_;
	my $zeros = 10**(floor(log($top) / log(10)) - 1);
	my ($step) = grep { $top / $_ <= 6 } map { $_ * $zeros } 1, 2, 5, 10, 20;

	return map { $_ * $step } 0 .. ceil($top / $step);
}

# The powers of ten between two numbers, and before the first and after the last
sub powers
{
	my ($low, $high) = @_;

	my ($first, $last) = (floor(log($low) / log(10)), ceil(log($high) / log(10)));

	return map { 10**$_ } $first .. max($last, $first + 1);
}

# A number as people read it
sub readable
{
	my ($number) = @_;

	return $number / 1e6 . 'M' if $number >= 1e6;
	return $number / 1e3 . 'k' if $number >= 1e4;
	return "$number";
}

sub escaped
{
	my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;');

	return $_[0] =~ s/([&<>])/$entity{$1}/gr;
}

# -- Drawing -------------------------------------------------------------------

sub text
{
	my ($x, $y, $text, %attributes) = @_;
	my $attributes = join('', map { " $_=\"$attributes{$_}\"" } sort keys %attributes);

	return sprintf("<text x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", $x, $y, $attributes, escaped($text));
}

sub line
{
	my ($class, @from_to) = @_;

	return sprintf("<line class=\"$class\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", @from_to);
}

# A chart as SVG.
sub draw
{
	my ($chart, $machine) = @_;
	my @points = map { @{ $_->{points} } } @{ $chart->{lines} };
	my @y_ticks = linear_ticks(max(map { $_->[1] } @points));
	my @x_ticks = powers(min(grep { $_ > 0 } map { $_->[0] } @points), max(map { $_->[0] } @points));
	my $has_zero = grep { $_->[0] == 0 } @points;
	my ($right, $bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
	my $first = LEFT + ($has_zero ? 40 : 0);

	my $x_of = sub {
		return LEFT if $_[0] == 0;
		return $first + ($right - $first) * log($_[0] / $x_ticks[0]) / log($x_ticks[-1] / $x_ticks[0]);
	};
	my $y_of = sub { return $bottom - ($bottom - TOP) * $_[0] / $y_ticks[-1] };
	my $svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ' . WIDTH . ' ' . HEIGHT
	  . '" role="img">' . "\n<title>" . escaped("$chart->{unit}, by $chart->{name}") . "</title>\n<style>\n$style</style>\n";

	$svg .= text(LEFT, 22, $chart->{unit}, class => 'title');
	foreach my $tick (@y_ticks)
	{
		$svg .= line($tick == 0 ? 'axis' : 'grid', LEFT, $y_of->($tick), $right, $y_of->($tick));
		$svg .= text(LEFT - 8, $y_of->($tick) + 4, readable($tick), 'text-anchor' => 'end');
	}
	foreach my $tick ($has_zero ? 0 : (), @x_ticks)
	{
		$svg .= line('axis', $x_of->($tick), $bottom, $x_of->($tick), $bottom + 5);
		$svg .= text($x_of->($tick), $bottom + 20, readable($tick), 'text-anchor' => 'middle');
	}
	$svg .= text((LEFT + $right) / 2, $bottom + 40, $chart->{name}, 'text-anchor' => 'middle');
	$svg .= text(LEFT, HEIGHT - 4, $machine, style => 'font-size: 10px');

	my $n = 0;
	my @labels;
	foreach my $line (@{ $chart->{lines} })
	{
		my $color = $colors[ $n++ % @colors ];
		my @places = map { [ $x_of->($_->[0]), $y_of->($_->[1]) ] }
		  sort { $a->[0] <=> $b->[0] } @{ $line->{points} };

		$svg .= sprintf("<polyline class=\"line\" stroke=\"$color\" points=\"%s\"/>\n",
			join(' ', map { sprintf('%.1f,%.1f', @$_) } @places));
		$svg .= sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"$color\"/>\n", @$_) foreach @places;
		push @labels, { name => $line->{name}, x => $places[-1][0] + 8, y => $places[-1][1] + 4, color => $color }
		  if $line->{name} ne '';
	}
	# labels of lines that end near each other go below one another
	@labels = sort { $a->{y} <=> $b->{y} } @labels;
	foreach my $i (0 .. $#labels)
	{
		$labels[$i]{y} = max($labels[$i]{y}, $labels[ $i - 1 ]{y} + 15) if $i > 0;
		$svg .= text($labels[$i]{x}, $labels[$i]{y}, $labels[$i]{name}, style => "fill: $labels[$i]{color}");
	}
	return "$svg</svg>\n";
}
