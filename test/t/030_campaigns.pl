# A campaign is paused, resumed and cancelled while it is being sent, and others
# go on: what sql/campaigns.sql says of rows, as a server sees it.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ROWS => 2000;

# Statuses need a front, the front a database, and that an address to send to.
my $node = new_cluster('campaigns', undef);
add_number($node);
$node->safe_psql('postgres',
	"CREATE ROLE web LOGIN; SELECT whatsapp.grant_access('web', 'webhook'); CREATE ROLE boss; SELECT whatsapp.grant_access('boss', 'admin')");
my $front = start_front($node, 'web');
my $graph = start_graph(webhook => "http://127.0.0.1:$front->{port}/webhook");
set_conf($node, "whatsapp.graph_url = '" . graph_url($graph, '') . "'");
ok(wait_for_sender($node), 'there is a sender');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# What roles with level admin see of a campaign
sub campaign
{
	my ($name, $columns) = @_;

	return sql("SET ROLE boss; SELECT $columns FROM whatsapp.campaigns WHERE campaign = '$name'");
}

# Queue a campaign, to so many people after a number
sub queue
{
	my ($name, $first, $rows) = @_;

	return sql("INSERT INTO whatsapp.outbox (recipient, body, campaign) SELECT $first + i, '$name', '$name' FROM generate_series(1, $rows) i");
}

# How many requests were made for a campaign
sub requests
{
	my ($name) = @_;

	return scalar(grep { $_->{body}{text}{body} eq $name } @{ graph_get($graph, '/_log') });
}

# Wait until some of a campaign, and not all of it, has been sent.
sub wait_until_under_way
{
	my ($name) = @_;

	ok(wait_until("some of $name are sent", sub { campaign($name, 'sent > 200') eq 't' }), "$name is under way");
	is(campaign($name, 'state'), 'running', '... and running');
	return;
}

# Wait until nothing of a campaign is on its way.
sub wait_until_still
{
	my ($name) = @_;

	return ok(wait_until("nothing of $name is on its way", sub { campaign($name, 'sending') eq '0' }),
		'what was on its way comes to its end');
}

# Slow enough to be paused in the middle: 32 messages at a time, each of which
# takes 50 ms
graph_post($graph, '/_script', { recipient => '*', delay_ms => 50 });
set_conf($node, 'whatsapp.max_in_flight = 32');

subtest 'a campaign is paused in the middle' => sub {
	queue('spring', 15551000000, ROWS);
	wait_until_under_way('spring');
	sql("SET ROLE boss; SELECT whatsapp.pause_campaign('spring', 'wrong price')");
	wait_until_still('spring');
	my $arrived = requests('spring');

	cmp_ok($arrived, '<', ROWS, 'not all have left');
	is(campaign('spring', 'state, paused_reason, estimated_end'), 'paused|wrong price|', 'it is paused');
	is(campaign('spring', "total = @{[ROWS]} AND sent = $arrived AND queued = total - sent"), 't', 'and half done');
	is(sql("SELECT holds #>> '{0,kind}' FROM whatsapp.sender_status"), 'campaign', 'as the status says, too');

	# to the last one of it, to somebody else, and another campaign
	my $last = 15551000000 + ROWS;
	sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('$last', 'same recipient'), ('15550000001', 'somebody else')");
	queue('summer', 15551000000, 500);
	queue('spring', 15552000000, 100);
	wait_for_state($node, "body IN ('same recipient', 'somebody else', 'summer')", 'sent', 'all else is sent');
	is(requests('spring'), $arrived, 'and nothing of it');
	is(sql("SELECT string_agg(DISTINCT waits_for, ' ') FROM whatsapp.outbox WHERE campaign = 'spring' AND state = 'queued'"),
		'campaign', 'what is left waits for the campaign');
	is( sql("SELECT count(*) FROM whatsapp.outbox WHERE waits_for IS DISTINCT FROM 'campaign' AND state = 'queued'"),
		'0', 'and nothing for that');

	# also after a restart
	$node->restart;
	wait_for_sender($node);
	sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'after a restart')");
	wait_for_state($node, "body = 'after a restart'", 'sent', 'after a restart, others are sent');
	is(requests('spring'), $arrived, 'and nothing of it');
};

subtest 'and resumed' => sub {
	sql("SET ROLE boss; SELECT whatsapp.resume_campaign('spring')");
	wait_for_state($node, "campaign = 'spring'", 'sent', 'then the rest is sent');
	is(requests('spring'), ROWS + 100, 'each once');
	my %times;
	$times{"$_->{to} $_->{body}{text}{body}"}++ foreach @{ graph_get($graph, '/_log') };
	is(join(' ', grep { $times{$_} != 1 } sort keys %times), '', 'to everybody');
	is(campaign('spring', 'state, total, queued, sending, sent, failed, percent'),
		join('|', 'finished', ROWS + 100, 0, 0, ROWS + 100, 0, '100.0'), 'it is finished');
	ok( wait_until('all are read', sub { campaign('spring', 'delivered = total AND read = total') eq 't' }),
		'and all have read it, as statuses say');
	is(campaign('spring', 'started_at < last_at AND rate > 0 AND estimated_end IS NULL AND failures IS NULL'), 't', 'and there is no more to be said');
};

subtest 'one is paused for some time' => sub {
	sql("SELECT whatsapp.pause_campaign('autumn', 'until it is time', now() + interval '1 hour')");
	queue('autumn', 15553000000, 100);
	sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15553000001', 'meanwhile')");
	wait_for_state($node, "body = 'meanwhile'", 'sent', 'one that is filled while it is paused holds up nobody');
	is(requests('autumn'), 0, 'nothing of it has left');
	is(campaign('autumn', 'state, paused_reason'), 'paused|until it is time', 'it is paused');
	sql("SELECT whatsapp.pause_campaign('autumn', NULL, now() + interval '1 s')");
	wait_for_state($node, "campaign = 'autumn'", 'sent', 'until its time is over');
	is(requests('autumn'), 100, 'each is sent once');
	is(sql("SELECT count(*) FROM whatsapp.holds"), '0', 'and nothing is held any more');
};

subtest 'what is to be tried again is not waited for while it is paused' => sub {
	# for days, that is
	graph_post($graph, '/_script', { recipient => '15550000003', times => 1, error => { code => 133016 } });
	queue('waits', 15550000002, 1);
	ok( wait_until('it waits', sub { sql("SELECT waits_for FROM whatsapp.outbox WHERE campaign = 'waits'") eq 'retry' }),
		'one has to wait');
	sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'behind it')");
	is(sql("SELECT waits_for FROM whatsapp.outbox WHERE body = 'behind it'"), 'turn', 'and another for that');
	sql("SELECT whatsapp.pause_campaign('waits')");
	wait_for_state($node, "body = 'behind it'", 'sent', 'until its campaign is paused');
	sql("SELECT whatsapp.resume_campaign('waits')");
	ok( wait_until('it waits again', sub { sql("SELECT waits_for FROM whatsapp.outbox WHERE campaign = 'waits'") eq 'retry' }),
		'when that is resumed, it still has to wait');
	is(requests('waits'), 1, 'and is not tried before');
};

subtest 'one is cancelled in the middle' => sub {
	# some are refused, some opt out, some fail later
	foreach my $i (1 .. 9)
	{
		graph_post($graph, '/_script',
			{
				recipient => '' . (15554000000 + $i),
				$i <= 3 ? (error => { code => 131026 })
				: $i <= 5 ? (error => { code => 131050 })
				: $i <= 8 ? (statuses => [ 'sent', 'failed' ], status_error => 131049)
				: (statuses => [ 'sent', 'delivered' ])
			});
	}
	queue('winter', 15554000000, ROWS);
	wait_until_under_way('winter');
	my $cancelled = sql("SET ROLE boss; SELECT whatsapp.cancel_campaign('winter')");
	sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES (15554000000 + " . ROWS . ", 'after all')");
	cmp_ok($cancelled, '>', 0, 'some are cancelled');
	wait_until_still('winter');
	wait_for_state($node, "body = 'after all'", 'sent', 'others are sent');
	is(requests('winter'), ROWS - $cancelled, 'and of it only what had left');
	is(campaign('winter', 'state, total, cancelled, queued, percent'), join('|', 'finished', ROWS, $cancelled, 0, '100.0'), 'it is finished');
	ok( wait_until(
			'all statuses are there',
			sub { campaign('winter', 'read = sent - 4 AND failed_later = 3') eq 't' }),
		'all who have got it have read it, but for those who have not');
	is( campaign('winter', 'sent - delivered, failed, failed_later, opted_out, failures, unknown, expired'),
		'3|8|3|2|{"suppress": 5, "permanent": 3}|0|0',
		'and what has failed is there by class');
	is(sql("SET ROLE boss; SELECT whatsapp.cancel_campaign('winter')"), '0', 'there is nothing left to be cancelled');
};

$node->stop;
done_testing();
