# How what a message costs grows: with how many are queued, with how much has been
# sent before, and with how many are under way at a time.  For plots; nothing is
# beside it.  How many are claimed, and recorded, at a time is not a setting, but
# up to how many are under way.
#
#	BENCH_SIZES		how many are queued, and how many were sent before
#	BENCH_IN_FLIGHT	how many are under way
#
# However many are queued, as many of them are sent; see backlog.pl for the time.

use strict;
use warnings;

use Bench;
use Whatsapp;

use constant MESSAGES => size(50_000, 5_000);
use constant ROUNDS => 3;
use constant IN_FLIGHT => 256;

my @sizes = split(' ', $ENV{BENCH_SIZES} // size('10000 30000 100000 300000 1000000', '5000 20000'));
my @in_flight = split(' ', $ENV{BENCH_IN_FLIGHT} // size('1 4 16 64 256 1000', '16 256'));
my $server = start_server('http');
my $node = start_cluster('scaling', $server, 'whatsapp.max_in_flight = ' . IN_FLIGHT);

# Make so many messages that have been sent, as the sender leaves them.
sub make_history
{
	my ($messages) = @_;

	$node->safe_psql('postgres', <<"SQL");
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, state, attempts, nonce, message_id, created_at, claimed_at, finished_at)
SELECT '@{[NUMBER]}', 15500000000 + i, 'Your order ' || i || ' has left, and will be with you on Monday.',
	'sent', 1, substr(md5(i::text), 1, 16), 'wamid.before' || i, now(), now(), now()
FROM generate_series(1, $messages) i;
INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, sent_at, outbox_id)
SELECT phone_number_id, message_id, 'outbound', 'text', body, substr(recipient_key, 2), finished_at, id
FROM whatsapp.outbox;
SQL
	settle_down($node, 'whatsapp.messages');
	return;
}

# What a message costs, in us, once things are as a function makes them
sub cost
{
	my ($messages, $make) = @_;
	my @costs;

	foreach my $round (1 .. ROUNDS)
	{
		empty_outbox($node);
		$make->();
		push @costs, send_part($node, $server, $messages);
	}
	return median(@costs) * 1e6;
}

foreach my $size (@sizes)
{
	my $messages = $size < MESSAGES ? $size : MESSAGES;

	point('queued', $size, cost($messages, sub { fill_outbox($node, $size) }), 'us a message');
}
foreach my $size (0, @sizes)
{
	point('sent before', $size,
		cost(MESSAGES, sub { make_history($size) if $size; fill_outbox($node, MESSAGES) }), 'us a message');
}
foreach my $in_flight (@in_flight)
{
	my $messages = $in_flight < 16 ? MESSAGES / 10 : MESSAGES;

	set_conf($node, "whatsapp.max_in_flight = $in_flight");
	point('in flight', $in_flight, cost($messages, sub { fill_outbox($node, $messages) }), 'us a message');
}
