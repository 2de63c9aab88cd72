# While several numbers have messages, none waits until hundreds of another have
# been claimed.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('turns', $graph);
add_number($node);
$node->safe_psql('postgres',
	sprintf("SELECT whatsapp.add_number('1002', access_token => '%s');
	 UPDATE whatsapp.numbers SET messages_per_second = 1000000", TOKEN));
my ($first, $second) =
  split(/\n/, $node->safe_psql('postgres', 'SELECT phone_number_id FROM whatsapp.numbers ORDER BY phone_number_id DESC'));
wait_for_sender($node);

# Queue so many messages of a number, each to somebody else
sub queue
{
	my ($number, $body, $messages) = @_;

	return "INSERT INTO whatsapp.outbox (phone_number_id, recipient, body)
		SELECT '$number', (15550000000 + i)::text, '$body' FROM generate_series(1, $messages) i;";
}

# How many of these were claimed at once, at most
sub most_at_once
{
	my ($body) = @_;

	return $node->safe_psql('postgres',
		"SELECT max(n) FROM (SELECT count(*) AS n FROM whatsapp.outbox WHERE body = '$body' GROUP BY claimed_at) c");
}

$node->safe_psql('postgres', queue($first, 'alone', 300));
wait_for_state($node, "body = 'alone'", 'sent', 'a number has messages');
cmp_ok(most_at_once('alone'), '>', 100, 'alone, it has hundreds of them claimed at once');

$node->safe_psql('postgres', queue($second, 'second', 1));
wait_for_state($node, "body = 'second'", 'sent', 'another number has one, too');
$node->safe_psql('postgres', queue($first, 'beside', 300) . queue($second, 'beside', 300));
wait_for_state($node, "body = 'beside'", 'sent', 'both have hundreds');
cmp_ok(most_at_once('beside'), '<=', 32, 'which are claimed a few at a time');

$node->stop;
done_testing();
