# How many messages leave in a second while a lot is queued that may not: beside
# the same messages with nothing else queued.
#
# In front are messages of a template that is held, and others whose time has not
# come; then a lot to one recipient, of which one may leave at a time; and then
# those that may leave.  All the time, since before anything was queued, somebody
# holds a snapshot, so that nothing that is dead can be removed.
#
# Of what may leave only a part is sent, then the number is paused.  Time is
# counted on both sides from the first claim until the last recording, as the
# rows tell.

use strict;
use warnings;

use Bench;
use IPC::Run;
use Whatsapp;

use constant QUEUED => size(1_000_000, 60_000);
use constant BLOCKED => QUEUED / 10;	# in front; and as many to one recipient
use constant MESSAGES => QUEUED / 10;
use constant ROUNDS => size(3, 2);

my $server = start_server('http');
my $node = start_cluster('backlog', $server);
my $template = '{"name": "sale", "language": {"code": "en"}}';

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Hold a snapshot from now on.  Returns what lets go of it.
sub hold_snapshot
{
	my $session = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
			'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM whatsapp.numbers; SELECT pg_sleep(86400)'
		],
		'<', \undef, '>&', \my $output);
	my $holders = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep(86400)%' AND pid <> pg_backend_pid()";

	await('there is a snapshot', sub { sql("SELECT count(*) $holders AND backend_xmin IS NOT NULL") });
	return sub {
		sql("SELECT pg_terminate_backend(pid) $holders");
		$session->finish;
		return;
	};
}

sub queue_backlog
{
	my $held = BLOCKED / 2;

	sql("INSERT INTO whatsapp.outbox (recipient, type, content) SELECT 15560000000 + i, 'template', '$template' FROM generate_series(1, $held) i");
	sql("INSERT INTO whatsapp.outbox (recipient, body, send_after) SELECT 15570000000 + i, 'A reminder', now() + interval '1 day' FROM generate_series(1, $held) i");
	sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT '15580000000', 'Message ' || i FROM generate_series(1, @{[BLOCKED]}) i");
	return;
}

# Send a part of what is queued, and return how many left in a second.
sub rate
{
	my $seconds = send_part($node, $server, MESSAGES);

	die 'what is held has left' if sql(q{SELECT count(*) FROM whatsapp.outbox WHERE state <> 'queued' AND (type = 'template' OR send_after IS NOT NULL)});
	return 1 / $seconds;
}

sql("INSERT INTO whatsapp.holds (phone_number_id, kind, key, reason) VALUES ('@{[NUMBER]}', 'template', 'sale en', 'bench')");
my $rates = compare(ROUNDS,
	ours => sub {
		empty_outbox($node);
		my $let_go = hold_snapshot();
		queue_backlog();
		fill_outbox($node, QUEUED - 2 * BLOCKED);
		my $rate = rate();
		$let_go->();
		return $rate;
	},
	alone => sub {
		empty_outbox($node);
		fill_outbox($node, MESSAGES);
		return rate();
	});
report(case => QUEUED . ' queued, an old snapshot', beside => 'nothing but what is sent',
	compared($rates, 'ours', 'alone'), unit => 'messages/s', goal => 'ratio >= 0.8');
