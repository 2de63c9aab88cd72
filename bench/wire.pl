# What a message costs on the wire, in system calls, and of the processor: beside
# bare libcurl, which posts the same bodies and has no database.
#
# Each is measured in a run of its own, as what counts bytes (meter.js) and system
# calls (strace) takes time.  Connections are made anew for each run, and so are
# counted.  The sender's calls and time are those of its process, all of them,
# for the database as well.

use strict;
use warnings;

use Bench;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Whatsapp;

use constant MESSAGES => size(50_000, 2_000);
use constant IN_FLIGHT => 256;

my %names = (http => 'HTTP/1.1', https => 'TLS', h2 => 'HTTP/2');
my $node = start_cluster('wire', undef, 'whatsapp.max_in_flight = ' . IN_FLIGHT);

# Drain a queue of so many.
sub drain
{
	my ($server) = @_;

	empty_outbox($node);
	fill_outbox($node, MESSAGES);
	drain_outbox($node, $server, MESSAGES);
	check_sent($node, $server, MESSAGES);
	return;
}

sub post
{
	my ($server) = @_;

	post_bare($node, $server, MESSAGES, IN_FLIGHT);
	return;
}

# The bytes of a message, sent and received, while a function has all posted to a
# meter
sub bytes
{
	my ($server, $code) = @_;
	my $meter = start_program({}, 'node', 'bench/meter.js', $server->{listens});
	my $metered = { %$server, port => $meter->{port} };
	my @bytes;

	send_to($node, $metered);
	$code->($metered);
	$server->{$_} = $metered->{$_} foreach qw(program asked);
	$meter->{run}->signal('USR2');
	await('the meter tells', sub { (@bytes = slurp_file($meter->{log}) =~ /^(?:sent|received) (\d+)$/mg) == 2 });
	stop_program($meter);
	send_to($node, $server);
	return map { $_ / MESSAGES } @bytes;
}

# How many system calls strace counts, in its table's last line
sub calls_of_summary
{
	my ($file) = @_;
	my ($calls) = slurp_file($file) =~ /^ *100\.00 +\S+ +(?:\S+ +)?(\d+) +(?:\d+ +)?total$/m;

	die 'strace says: ' . slurp_file($file) if !$calls;
	return $calls / MESSAGES;
}

sub sender_calls
{
	my ($server) = @_;
	my $summary = $node->basedir . '/strace.sender';
	my $strace = IPC::Run::start(
		[ 'strace', '-f', '-c', '-o', $summary, '-p', sender_pid($node) ],
		'<', \undef, '>&', \my $output);

	await('strace is attached', sub { slurp_file('/proc/' . sender_pid($node) . '/status') =~ /^TracerPid:\s+[1-9]/m });
	drain($server);
	$strace->signal('INT');
	$strace->finish;
	return calls_of_summary($summary);
}

sub bare_calls
{
	my ($server) = @_;
	my $summary = $node->basedir . '/strace.bare';

	restart_server($server);
	run_program({}, 'strace', '-f', '-c', '-o', $summary,
		bare_command($node, $server, MESSAGES, IN_FLIGHT));
	return calls_of_summary($summary);
}

# Time of the processor for a message, in us: of the sender, as the system tells
# in ns; and of programs that have ended
sub sender_time
{
	my ($server) = @_;
	my $time = sub { (split(' ', slurp_file('/proc/' . sender_pid($node) . '/schedstat')))[0] / 1000 };
	my $before = $time->();

	drain($server);
	return ($time->() - $before) / MESSAGES;
}

sub bare_time
{
	my ($server) = @_;
	my @before = times;

	post($server);
	my @after = times;
	return ($after[2] + $after[3] - $before[2] - $before[3]) * 1e6 / MESSAGES;
}

foreach my $protocol (split(' ', $ENV{BENCH_PROTOCOLS} // 'http https h2'))
{
	my $server = start_server($protocol);
	my $name = $names{$protocol};

	progress($name);
	send_to($node, $server);
	my $sender_time = sender_time($server);
	my $bare_time = bare_time($server);
	my @bytes = bytes($server, \&drain);
	my @bare_bytes = bytes($server, \&post);
	my %rows = (
		'bytes sent' => [ $bytes[0], $bare_bytes[0] ],
		'bytes received' => [ $bytes[1], $bare_bytes[1] ],
		'system calls' => [ sender_calls($server), bare_calls($server) ],
		'CPU time in us' => [ $sender_time, $bare_time ]);

	foreach my $what ('bytes sent', 'bytes received', 'system calls', 'CPU time in us')
	{
		my ($ours, $bare) = @{ $rows{$what} };

		report(case => "$name, $what", beside => 'bare libcurl', ours => $ours, peer => $bare,
			unit => 'a message', ratio => $ours / $bare);
	}
}
