# From Meta to the database and back, over HTTP: the front of
# examples/express, with a role that may do nothing else.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use Test::More;

my $http = HTTP::Tiny->new(timeout => 60);
my $node = new_cluster('front', undef);
add_number($node);
$node->safe_psql('postgres',
	"CREATE ROLE front LOGIN; SELECT whatsapp.grant_access('front', 'webhook')");
my $front = start_front($node, 'front');
my $url = "http://127.0.0.1:$front->{port}/webhook";
my $graph = start_graph(webhook => $url);
$node->append_conf('postgresql.conf',
	"whatsapp.graph_url = 'http://127.0.0.1:$graph->{port}'");
$node->reload;

# The handshake
my $query =
  'hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=';
my $answer = $http->get("$url?$query" . VERIFY_TOKEN);
is($answer->{status}, 200, 'GET with the verify token');
is($answer->{content}, '1158201444', 'is answered with the challenge');
like($answer->{headers}{'content-type'}, qr{^text/plain}, 'as plain text');
$answer = $http->get("${url}?${query}wrong");
is($answer->{status}, 403, 'GET with another is forbidden');
unlike($answer->{content}, qr/1158201444|wrong/, 'and nothing is echoed');
is($http->get($url)->{status}, 403, 'GET with nothing likewise');

# Deliveries
sub deliver
{
	my ($body, $signature) = @_;

	return $http->post($url, {
			headers => {
				'content-type' => 'application/json',
				defined $signature
				? ('x-hub-signature-256' => $signature)
				: ()
			},
			content => $body
		})->{status};
}

my $text = fixture('text');
is(deliver($text, undef), 401, 'POST without a signature');
is(deliver($text, sign("$text ")), 401, 'POST with a wrong one');
is(deliver($text, uc(sign($text))), 401, 'POST with one in upper case');
is($node->safe_psql('postgres', 'SELECT count(*) FROM whatsapp.messages'),
	'0', 'nothing was filed');
is(deliver($text, sign($text)), 200, 'POST with a good one');
is( $node->safe_psql('postgres', 'SELECT body FROM whatsapp.messages'),
	'Is the blue one a/b still there?',
	'is filed, its bytes being those that were signed');
is(deliver('<no json>', sign('<no json>')), 200, 'POST of what is no JSON');
is( $node->safe_psql(
		'postgres',
		"SELECT convert_from(body, 'UTF8') FROM whatsapp.webhooks"),
	'<no json>',
	'is kept');
my $large = '"' . ('x' x (3 * 1024 * 1024 - 2)) . '"';
is(deliver($large, sign($large)), 200, 'POST of 3 MB');
is(deliver("$large ", sign("$large ")), 413, 'POST of more');
is($http->request($_, $url)->{status}, 405, $_)
  foreach qw(PUT DELETE OPTIONS);

# A message, and its whole way
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550107788', 'It is.')"
);

sub wait_for_status
{
	my ($recipient, $status) = @_;

	return ok(
		wait_until(
			"it is $status",
			sub {
				$node->safe_psql('postgres',
					"SELECT m.status FROM whatsapp.outbox o JOIN whatsapp.messages m USING (phone_number_id, message_id) WHERE o.recipient = '$recipient' AND o.state = 'sent'"
				) eq $status;
			}),
		"the message to $recipient becomes $status");
}

sub history
{
	my ($recipient) = @_;

	return $node->safe_psql('postgres',
		"SELECT string_agg(s.status, ',' ORDER BY s.status) FROM whatsapp.outbox o JOIN whatsapp.statuses s USING (phone_number_id, message_id) WHERE o.recipient = '$recipient'"
	);
}

wait_for_status('15550107788', 'read');
is(history('15550107788'), 'delivered,read,sent', 'each status is there');

# Statuses that come before the answer, twice, in another order, in part, or
# tell of failure
my %scripts = (
	'15550000001' => [ { status_first => JSON::PP::true }, 'read', 'delivered,read,sent' ],
	'15550000002' => [ { status_times => 2 }, 'read', 'delivered,read,sent' ],
	'15550000003' => [ { statuses => [ 'read', 'delivered', 'sent' ] }, 'read', 'delivered,read,sent' ],
	'15550000004' => [ { statuses => ['delivered'] }, 'delivered', 'delivered' ],
	'15550000005' => [ { statuses => [] }, 'accepted', '' ],
	'15550000006' => [ { statuses => [ 'sent', 'failed' ] }, 'failed', 'failed,sent' ],
);
graph_post($graph, '/_script', { recipient => $_, %{ $scripts{$_}[0] } })
  foreach sort keys %scripts;
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT r, 'Hello' FROM unnest('{"
	  . join(',', sort keys %scripts)
	  . "}'::text[]) r");
ok( wait_until(
		'all are posted',
		sub {
			my $counts = graph_get($graph, '/_count');
			return $counts->{accepted} == 7 && $counts->{webhooks_pending} == 0;
		}),
	'all statuses are posted');
foreach my $recipient (sort keys %scripts)
{
	wait_for_status($recipient, $scripts{$recipient}[1]);
	is(history($recipient), $scripts{$recipient}[2], 'and its history is complete');
}
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM whatsapp.messages m WHERE direction = 'outbound' AND (outbox_id IS NULL OR body IS NULL)"
	),
	'0',
	'no message is there by its status only');
is_deeply([ grep { $_->{http_status} != 200 } @{ graph_get($graph, '/_webhooks') } ],
	[], 'each status webhook was answered 200');

# The database goes away, and comes back
$node->stop;
$answer = $http->post($url,
	{ headers => { 'x-hub-signature-256' => sign($text) }, content => $text });
is($answer->{status}, 503, 'without the database: try again');
ok($answer->{headers}{'retry-after'}, 'after a while');
$node->start;
ok( wait_until('it answers', sub { deliver($text, sign($text)) == 200 }),
	'with the database, all is well again');

ok(stop_program($front), 'the front stops when it is told to');
$node->stop;
done_testing();
