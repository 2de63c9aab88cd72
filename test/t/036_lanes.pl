# A lot is queued for one recipient, while somebody has an old snapshot: what is
# to leave next is found without reading all that waits behind it.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use Test::More;

use constant MESSAGES => 30_000;

my $graph = start_graph();
my $node = new_cluster('lanes', $graph);
add_number($node);
ok(wait_for_sender($node), 'there is a sender');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# How many entries were read of the indexes that tell which one is the next, and
# how many of their pages were looked at
sub read_so_far
{
	return split(/\|/, sql("SELECT sum(idx_tup_read), sum(idx_blks_hit + idx_blks_read) FROM pg_stat_user_indexes JOIN pg_statio_user_indexes USING (indexrelid) WHERE pg_stat_user_indexes.indexrelname IN ('outbox_turn_idx', 'outbox_head_idx')"));
}

sub changes_so_far
{
	return sql("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'whatsapp.outbox'::regclass");
}

# Nothing that is dead is removed, or known to be
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM whatsapp.outbox');

sql("SELECT whatsapp.pause_number('@{[NUMBER]}')");
sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT '15550000001', 'bulk' FROM generate_series(1, @{[MESSAGES]})");
my ($entries, $pages) = (0, 0);
ok( wait_until(
		'the statistics tell of it, and of nothing more',
		sub {
			my $known = $pages;

			($entries, $pages) = read_so_far();
			return $pages == $known && changes_so_far() == MESSAGES - 1;
		}),
	'all but the first wait for their turn');

sql("SELECT whatsapp.resume_number('@{[NUMBER]}')");
ok( wait_until('some are sent', sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE state = 'sent'") >= 30 }),
	'some leave, one after the other');
sql("SELECT whatsapp.pause_number('@{[NUMBER]}')");
ok( wait_until('no more is sent', sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE state = 'sending'") == 0 }),
	'then no more');
my $sent = sql("SELECT count(*) FROM whatsapp.outbox WHERE state = 'sent'");

# (claimed, recorded, and the one behind it brought to the front)
ok( wait_until('the statistics tell of it', sub { changes_so_far() >= MESSAGES - 1 + 3 * $sent }),
	'the statistics tell of it');
my ($entries_after, $pages_after) = read_so_far();

cmp_ok($entries_after - $entries, '<', $sent * MESSAGES / 3, "for each of $sent, only a few others are looked at");
cmp_ok($pages_after - $pages, '<', $sent * MESSAGES / 300, 'nor are their entries');
$session->quit;

$node->stop;
done_testing();
