# How long the answer to somebody takes, one every 10 ms from one number, while
# another number has a lot to send: beside the same with nothing else to send.
# Time is counted from when it is about to be queued until what came of it is
# recorded.

use strict;
use warnings;

use Bench;
use Whatsapp;

use constant BULK => size(1_000_000, 60_000);
use constant REPLIES => size(2000, 300);
use constant ROUNDS => size(5, 2);
use constant OTHER_NUMBER => '106540352242999';

my $server = start_server('http');
my $node = start_cluster('fairness', $server);
my (%p50, %until_claimed);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# The reply says when it is queued.  A transaction begins after the wait.
sql(<<"SQL");
SELECT whatsapp.add_number('@{[OTHER_NUMBER]}', waba_id => '1', access_token => '@{[TOKEN]}');
UPDATE whatsapp.numbers SET messages_per_second = 1000000000;
CREATE PROCEDURE bench.reply(replies integer) LANGUAGE plpgsql AS \$\$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	FOR i IN 1..replies LOOP
		PERFORM pg_sleep_until(began + i * interval '10 ms');
		COMMIT;
		INSERT INTO whatsapp.outbox (phone_number_id, recipient, body)
		VALUES ('@{[OTHER_NUMBER]}', 15590000000 + i, clock_timestamp());
		COMMIT;
	END LOOP;
END \$\$;
SQL

# Send replies.  Returns the 99th percentile of how long they took, in ms, and
# keeps the median, and how much of that was until they were claimed.
sub reply
{
	my ($side) = @_;

	sql("CALL bench.reply(@{[REPLIES]})");
	await_sql($node, "SELECT NOT EXISTS (SELECT FROM whatsapp.outbox WHERE phone_number_id = '@{[OTHER_NUMBER]}' AND state IN ('queued', 'sending'))");
	die 'there was not enough else to send' if $side eq 'ours' && sql("SELECT count(*) FROM (SELECT FROM whatsapp.outbox WHERE phone_number_id = '@{[NUMBER]}' AND state = 'queued' LIMIT 1) o") == 0;
	my (@times, @until_claimed);
	foreach (split(/\n/, sql("SELECT extract(epoch FROM finished_at - body::timestamptz) * 1000, extract(epoch FROM claimed_at - body::timestamptz) * 1000 FROM whatsapp.outbox WHERE phone_number_id = '@{[OTHER_NUMBER]}' AND state = 'sent'")))
	{
		my ($time, $until_claimed) = split(/\|/);

		push @times, $time;
		push @until_claimed, $until_claimed;
	}

	die 'not all have been sent' if @times != REPLIES;
	push @{ $p50{$side} }, percentile(50, @times);
	push @{ $until_claimed{$side} }, percentile(99, @until_claimed);
	return percentile(99, @times);
}

sub start_with
{
	my ($bulk) = @_;

	empty_outbox($node);
	fill_outbox($node, $bulk) if $bulk;
	settle_down($node, 'whatsapp.outbox');
	restart_server($server);
	resume_number($node);
	await('bulk is being sent', sub { server_requests($server) > 1000 }) if $bulk;
	return;
}

my $p99 = compare(ROUNDS,
	ours => sub { start_with(BULK); return reply('ours') },
	alone => sub { start_with(0); return reply('alone') });

report(case => 'a reply, p50', beside => 'itself alone', compared(\%p50, 'ours', 'alone'), unit => 'ms');
report(case => 'a reply, p99', beside => 'itself alone', compared($p99, 'ours', 'alone'), unit => 'ms', goal => 'ratio <= 2');
report(case => 'a reply, p99 until it is claimed', beside => 'itself alone', compared(\%until_claimed, 'ours', 'alone'), unit => 'ms');
