# How much memory the sender has after a lot of messages, beside itself after few:
# with 1,000 under way at a time, some refused, some told to come back, and with
# as many SIGHUPs as there are in a day if there is one a minute.  And how much a
# session has that has taken in a lot of webhooks.  Both are to stay as they are.
#
# What is counted is anonymous memory: what a process has of its own, and what it
# has from the postmaster.  Shared buffers, and the code, are not counted.
#
#	BENCH_MESSAGES	how many messages

use strict;
use warnings;

use Bench;
use PostgreSQL::Test::Utils;
use Whatsapp;

use constant MESSAGES => $ENV{BENCH_MESSAGES} // size(1_000_000, 20_000);
use constant WEBHOOKS => size(1_000_000, 20_000);
use constant FEW => 10_000;
use constant SIGHUPS => size(24 * 60, 60);

my $server = start_server('http', errors => 0.5);
my $node = start_cluster('memory', $server, 'whatsapp.max_in_flight = 1000');
my $pid = sender_pid($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# In MB
sub sender_memory
{
	my ($kb) = slurp_file("/proc/$pid/smaps_rollup") =~ /^Anonymous: +(\d+) kB/m;

	return $kb / 1024;
}

# Send so many messages, with so many SIGHUPs by the way.
sub drain
{
	my ($messages, $sighups) = @_;
	my $sent = 0;

	pause_number($node);
	fill_outbox($node, $messages);
	restart_server($server);
	resume_number($node);
	await(
		'all have been posted',
		sub {
			my $requests = server_requests($server);

			for (; $sent < $sighups && $sent / $sighups < $requests / $messages; $sent++)
			{
				kill 'HUP', $pid;
			}
			return $requests >= $messages;
		});
	return;
}

drain(FEW, 0);
await_sql($node, is_drained());
my $few = sender_memory();
drain(MESSAGES - FEW, SIGHUPS);
await_sql($node, is_drained());
my $many = sender_memory();

die 'it is another sender' if sender_pid($node) ne $pid;
die 'some have not come to an end' if sql("SELECT count(*) FROM whatsapp.outbox WHERE state NOT IN ('sent', 'failed')");
progress('outcomes: %s', sql("SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM whatsapp.outbox GROUP BY 1) s"));
report(case => 'sender, ' . MESSAGES . ' messages', beside => 'that much', ours => $many, unit => 'MB', goal => 'ours <= 64');
report(case => 'sender, ' . MESSAGES . ' messages', beside => 'itself after ' . FEW,
	ours => $many, peer => $few, ratio => $many / $few, unit => 'MB', goal => 'ratio <= 1.1');

# (a session can read of itself what the system says)
my $body = fixture('text');
$body =~ s/'/''/g;
$body =~ s/wamid\.[^"]*/wamid.bench%s/ or die 'the webhook has no id';
sql(<<"SQL");
CREATE PROCEDURE bench.ingest(first integer, last integer, INOUT mb double precision DEFAULT NULL) LANGUAGE plpgsql AS \$\$
BEGIN
	FOR i IN first..last LOOP
		PERFORM FROM (SELECT convert_to(replace('$body', '%s', i::text), 'UTF8') AS body OFFSET 0) b,
			whatsapp.ingest(b.body, whatsapp.sign(b.body, '@{[SECRET]}'));
		IF i % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
	mb := substring(pg_read_file('/proc/self/smaps_rollup') FROM 'Anonymous: +([0-9]+) kB')::double precision / 1024;
END \$\$;
SQL
($few, $many) = split(/\n/, sql('CALL bench.ingest(1, ' . FEW . '); CALL bench.ingest(1 + ' . FEW . ', ' . WEBHOOKS . ');'));
die 'not all have been filed' if sql("SELECT count(*) FROM whatsapp.messages WHERE message_id LIKE 'wamid.bench%'") != WEBHOOKS;
report(case => 'session, ' . WEBHOOKS . ' webhooks', beside => 'itself after ' . FEW,
	ours => $many, peer => $few, ratio => $many / $few, unit => 'MB', goal => 'ratio <= 1.1');
