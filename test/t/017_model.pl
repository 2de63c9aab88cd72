# Which rows may be under way, at any instant, is said by a model of a few
# lines, here.  Thousands of steps by chance (messages are queued, changed,
# cancelled, answered, refused, held, and time passes), and after each of them
# what is claimed is what the model says.
#
# No worker runs: its queries are asked in its place.  Time passes by changing
# the times in the tables, in minutes; what takes less is over at once.
#
# WHATSAPP_SEED repeats a run, WHATSAPP_STEPS makes it longer.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use JSON::PP;

my $seed = $ENV{WHATSAPP_SEED} // int(rand(2**31));
my $steps = $ENV{WHATSAPP_STEPS} // 3000;
note("WHATSAPP_SEED=$seed");
srand($seed);

my $node = new_cluster('model', undef, "shared_preload_libraries = ''", 'whatsapp.max_attempts = 5', 'fsync = off');
my @numbers = qw(1001 1002);
my @recipients = map { "1555123000$_" } 1 .. 5;
my @templates = qw(sale news);
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'a'), whatsapp.add_number('1002', waba_id => '2', access_token => 'b');

-- all that may leave; what the worker would have done with as many rounds
CREATE FUNCTION leave(max_rows integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	claimed bigint[] := '{}';
	released bigint[] := '{}';
	before integer;
	moved integer;
BEGIN
	FOR i IN 1..1000 LOOP
		IF i = 1000 THEN
			RAISE EXCEPTION 'there is no end to it';
		END IF;
		SELECT released || coalesce(array_agg(t.outbox_id), '{}') INTO released FROM whatsapp.tend(1000) t WHERE t.what = 'released';
		before := cardinality(claimed);
		SELECT claimed || coalesce(array_agg(c.outbox_id) FILTER (WHERE c.what = 'send'), '{}'), count(*) FILTER (WHERE c.what <> 'send')
		INTO claimed, moved
		FROM whatsapp.claim(max_rows - before, released => released) c;
		EXIT WHEN cardinality(claimed) = max_rows OR cardinality(claimed) = before AND moved = 0
			AND NOT EXISTS (SELECT FROM whatsapp.tend(1000) t WHERE t.what = 'released');
	END LOOP;
	RETURN claimed;
END $$;
CREATE FUNCTION pass(t interval) RETURNS void LANGUAGE sql AS $$
	UPDATE whatsapp.outbox SET claimed_at = claimed_at - t, send_after = send_after - t, retry_at = retry_at - t, expires_at = expires_at - t
	WHERE state <> 'sent';
	UPDATE whatsapp.holds SET since = since - t, until = until - t;
$$;
CREATE FUNCTION answer(id bigint, outcome text, http_status integer, reply jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY[outcome], ARRAY[http_status], ARRAY[reply], ARRAY[NULL], ARRAY[NULL]::integer[])
	FROM whatsapp.outbox o WHERE o.id = answer.id
$$;
-- what cannot be known without: states and times that were decided by chance
CREATE FUNCTION see() RETURNS json LANGUAGE sql AS $$
	SELECT json_build_object(
		'rows', (SELECT json_object_agg(o.id, json_build_array(o.state, extract(epoch FROM o.retry_at - now()))) FROM whatsapp.outbox o WHERE o.finished_at > now() - interval '1 minute' OR o.state IN ('queued', 'sending')),
		'holds', (SELECT json_agg(json_build_array(h.phone_number_id, h.kind, h.key, extract(epoch FROM h.until - now()))) FROM whatsapp.holds h))
$$;
SQL
my $session = $node->background_psql('postgres');
# each query may take its time, and all of them together more
$session->set_query_timer_restart;
$session->query_safe('SET client_min_messages = error; SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off');

# The model.  Times are in seconds, from now.
my %rows;		# by id: {id, number, recipient, priority, send_after, expires, template, state, retry}
my %paused;		# by number
my %holds;		# by number, kind and key: seconds, or 'inf'

sub is_held
{
	my ($number, $kind, $key) = @_;
	my $until = $holds{"$number $kind $key"};

	return defined $until && ($until eq 'inf' || $until > 0);
}

# What the model has in front: of each number that may send, of each recipient
# to whom nothing is under way, the first of those that are due.
sub may_leave
{
	my (%busy, %first);

	$busy{"$_->{number} $_->{recipient}"} = 1 foreach grep { $_->{state} eq 'sending' } values %rows;
	foreach my $row (sort { $b->{priority} <=> $a->{priority} || $a->{id} <=> $b->{id} } values %rows)
	{
		my $lane = "$row->{number} $row->{recipient}";

		next if $row->{state} ne 'queued' || $row->{expires} <= 0 || $row->{send_after} > 0;
		next if $row->{template} && is_held($row->{number}, 'template', "$row->{template} en");
		$first{$lane} //= $row;
	}
	return grep {
		$_->{retry} <= 0 && !$busy{"$_->{number} $_->{recipient}"} && !$paused{ $_->{number} }
		  && !is_held($_->{number}, 'pair', "+$_->{recipient}")
		  && !is_held($_->{number}, 'number', 'hold_number')
		  && !is_held($_->{number}, 'number', 'slow_number')
	} values %first;
}

sub one_of { return $_[ int(rand(@_)) ] }

# Rows in such a state, one by chance
sub some_row
{
	my @states = @_;
	my @found = sort { $a->{id} <=> $b->{id} } grep { my $state = $_->{state}; grep { $_ eq $state } @states } values %rows;

	return @found ? one_of(@found) : undef;
}

sub minutes { return $_[0] == 0 ? 'NULL' : "now() + interval '$_[0] min'" }

# What can happen: each returns SQL, and tells the model
sub queue_some
{
	my @values;

	foreach (1 .. one_of(1, 1, 2, 6))
	{
		my $row = {
			number => one_of(@numbers),
			recipient => one_of(@recipients),
			priority => one_of(0, 0, 0, 1, 2),
			template => one_of(undef, undef, undef, @templates)
		};
		my $after = one_of(0, 0, 0, 0, -5, 3, 10);
		my $expires = one_of(0, 0, 0, 0, 5, 30);

		$row->{send_after} = $after * 60;
		$row->{expires} = $expires == 0 ? 'inf' : $expires * 60;
		$row->{retry} = 0;
		$row->{state} = 'queued';
		push @values, [ $row, $after, $expires ];
	}
	return 'WITH n AS (INSERT INTO whatsapp.outbox (phone_number_id, recipient, priority, send_after, expires_at, type, body, content) VALUES '
	  . join(', ',
		map {
			my ($row, $after, $expires) = @$_;
			"('$row->{number}', '"
			  . one_of('', '+', '00')
			  . "$row->{recipient}', $row->{priority}, "
			  . minutes($after) . ', ' . minutes($expires) . ', '
			  . ($row->{template}
				? "'template', NULL, '{\"name\": \"$row->{template}\", \"language\": {\"code\": \"en\"}}'"
				: "'text', 'x', NULL")
			  . ')'
		} @values)
	  . ' RETURNING id) SELECT id FROM n ORDER BY id', sub {
		my @ids = split(/\n/, $_[0]);
		foreach my $value (@values)
		{
			$value->[0]{id} = shift @ids;
			$rows{ $value->[0]{id} } = $value->[0];
		}
	  };
}

my %replies = (
	sent => [ 'answered', 200, '{"messages": [{"id": "wamid.%d"}]}' ],
	failed => [ 'answered', 400, '{"error": {"code": 131026}}' ],
	retry => [ 'answered', 503, '{"error": {"code": 2}}' ],
	pair => [ 'answered', 400, '{"error": {"code": 131056}}' ],
	template => [ 'answered', 400, '{"error": {"code": 132015}}' ],
	slow => [ 'answered', 400, '{"error": {"code": 130429}}' ],
	hold => [ 'answered', 400, '{"error": {"code": 131048}}' ],
	unknown => [ 'unknown', 0, 'null' ],
	withdrawn => [ 'withdrawn', 0, 'null' ],
	'not sent' => [ 'not sent', 0, 'null' ]);

sub answer_one
{
	my $row = some_row('sending') or return;
	my $what = one_of(('sent') x 8, 'failed', 'retry', 'retry', 'pair', 'pair', 'template', 'slow', 'hold', 'unknown', 'withdrawn', 'not sent');
	my ($outcome, $status, $reply) = @{ $replies{$what} };

	return sprintf("SELECT answer(%d, '%s', %d, '$reply')", $row->{id}, $outcome, $status, $row->{id});
}

my %ways = (
	queue => [ 30, \&queue_some ],
	answer => [ 45, \&answer_one ],
	pass => [ 15, sub {
			my $minutes = one_of(1, 1, 2, 5, 61);

			return "SELECT pass('$minutes min')", sub {
				foreach my $row (values %rows)
				{
					$row->{$_} -= $minutes * 60 foreach grep { $row->{$_} ne 'inf' } qw(send_after expires retry);
				}
			};
		} ],
	cancel => [ 3, sub {
			my $row = some_row('queued') or return;

			return "SELECT whatsapp.cancel($row->{id})", sub { $row->{state} = 'cancelled' };
		} ],
	delete => [ 3, sub {
			my $row = some_row('queued') or return;

			return "DELETE FROM whatsapp.outbox WHERE id = $row->{id}", sub { delete $rows{ $row->{id} } };
		} ],
	'change of priority' => [ 3, sub {
			my $row = some_row('queued') or return;
			my $priority = one_of(0, 1, 2);

			return "UPDATE whatsapp.outbox SET priority = $priority WHERE id = $row->{id}", sub { $row->{priority} = $priority };
		} ],
	'change of recipient' => [ 2, sub {
			my $row = some_row('queued') or return;
			my $recipient = one_of(@recipients);

			return "UPDATE whatsapp.outbox SET recipient = '$recipient' WHERE id = $row->{id}", sub { $row->{recipient} = $recipient };
		} ],
	'change of time' => [ 2, sub {
			my $row = some_row('queued') or return;
			my $after = one_of(0, 0, 4);

			return 'UPDATE whatsapp.outbox SET send_after = ' . minutes($after) . " WHERE id = $row->{id}", sub { $row->{send_after} = $after * 60 };
		} ],
	retry => [ 3, sub {
			my $row = some_row(qw(failed unknown cancelled expired queued)) or return;

			return "SELECT whatsapp.retry($row->{id})", sub {
				$row->{state} = 'queued';
				$row->{retry} = 0;
				$row->{expires} = 'inf' if $row->{expires} <= 0;
			};
		} ],
	'state by hand' => [ 2, sub {
			my $row = some_row(qw(failed unknown cancelled sending)) or return;
			my $state = $row->{state} eq 'sending' ? 'failed' : 'queued';

			return "UPDATE whatsapp.outbox SET state = '$state' WHERE id = $row->{id}", sub { $row->{state} = $state };
		} ],
	'a pause' => [ 2, sub {
			my $number = one_of(@numbers);
			my $function = $paused{$number} ? 'resume' : 'pause';

			return "SELECT whatsapp.${function}_number('$number')", sub { $paused{$number} = !$paused{$number} };
		} ],
	release => [ 4, sub {
			my ($number, $kind, $key) = split(/ /, one_of(sort keys %holds) // return, 3);

			return "SELECT whatsapp.release_hold('$number', '$kind', '$key')";
		} ],
	'a crash' => [ 1, sub { return "SELECT whatsapp.release_interrupted('{}')" } ]);
my @choice = map { my $way = $_; ($way) x $ways{$way}[0] } sort keys %ways;

# Take over what chance or the error classes have decided; the model is about
# what follows from it
sub look
{
	my $seen = decode_json($session->query_safe('SELECT see()'));

	%holds = map { ("$_->[0] $_->[1] $_->[2]" => $_->[3] // 'inf') } @{ $seen->{holds} // [] };
	foreach my $id (keys %{ $seen->{rows} // {} })
	{
		my ($state, $retry) = @{ $seen->{rows}{$id} };

		next if !$rows{$id};
		$rows{$id}{state} = $state;
		$rows{$id}{retry} = $retry // 0;
	}
	return;
}

# A row, and the others of its lane that are queued or under way
sub lane_of
{
	my ($id) = @_;
	my $json = JSON::PP->new->canonical;

	return "$id: " . join(
		"\n\t",
		map { $json->encode($_) }
		  sort { $a->{id} <=> $b->{id} }
		  grep {
			$_->{number} eq $rows{$id}{number}
			  && $_->{recipient} eq $rows{$id}{recipient}
			  && ($_->{state} eq 'queued' || $_->{state} eq 'sending')
		  } values %rows);
}

my @story;
my $claimed_rows = 0;
my $problem;
# Chance may have hundreds of steps pass with numbers paused or held: then it
# takes more of them until enough was claimed for this to be a test.
STEP: for (my $step = 1; $step <= $steps || ($claimed_rows <= $steps / 5 && $step <= 10 * $steps); $step++)
{
	my $way = one_of(@choice);
	my ($sql, $then) = $ways{$way}[1]->();
	next if !defined $sql;
	my $result = $session->query_safe($sql);
	$then->($result) if $then;
	push @story, "$way: $sql";

	# less than a minute counts for nothing
	$session->query_safe(
		"UPDATE whatsapp.outbox SET retry_at = now() WHERE state = 'queued' AND retry_at BETWEEN now() AND now() + interval '50 s'; UPDATE whatsapp.holds SET until = now() WHERE until BETWEEN now() AND now() + interval '50 s'"
	);
	look();
	foreach my $row (values %rows)
	{
		$row->{state} = 'expired' if $row->{state} eq 'queued' && $row->{expires} ne 'inf' && $row->{expires} <= 0;
	}

	my @expected = sort { $a <=> $b } map { $_->{id} } may_leave();
	my $limit = one_of(100, 100, 100, 1, 2);
	my @claimed = sort { $a <=> $b } (eval { $session->query_safe("SELECT unnest(leave($limit))") } // die join("\n", splice(@story, -30))) =~ /(\d+)/g;
	my %expected = map { $_ => 1 } @expected;

	if ($limit < @expected
		? @claimed != $limit || grep { !$expected{$_} } @claimed
		: "@claimed" ne "@expected")
	{
		my %claimed = map { $_ => 1 } @claimed;

		$problem = "step $step: claimed (@claimed), expected " . ($limit < @expected ? "$limit of " : '') . "(@expected)\n"
		  . join("\n", splice(@story, -30),
			map { lane_of($_) } grep { !$expected{$_} || !$claimed{$_} } @claimed, @expected)
		  . "\n" . $session->query_safe(
			"SELECT id, state, waits_for, priority, send_after, retry_at, expires_at, now() FROM whatsapp.outbox WHERE state IN ('queued', 'sending') AND (phone_number_id, recipient_key) IN (SELECT phone_number_id, recipient_key FROM whatsapp.outbox WHERE id IN ("
			  . join(', ', grep { !$expected{$_} || !$claimed{$_} } @claimed, @expected)
			  . ')) ORDER BY phone_number_id, recipient_key, priority DESC, id');
		last STEP;
	}
	$rows{$_}{state} = 'sending' foreach @claimed;
	$claimed_rows += @claimed;
	push @story, "claimed @claimed";
	delete @rows{ grep { $rows{$_}{state} eq 'sent' } keys %rows };
}
ok(!defined $problem, "$steps steps, or more")
  or diag("WHATSAPP_SEED=$seed\n$problem");
cmp_ok($claimed_rows, '>', $steps / 5, 'in which a lot was claimed, or this has tested nothing');

# And in the end all of it can leave
if (!defined $problem)
{
	$session->query_safe(
		"SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers; DELETE FROM whatsapp.holds; SELECT pass('100 days')");
	my $left;
	foreach (1 .. 10000)
	{
		$session->query_safe(
			"SELECT leave(100); SELECT answer(id, 'answered', 200, '{\"messages\": [{\"id\": \"wamid.x\"}]}') FROM whatsapp.outbox WHERE state = 'sending'");
		$left = $session->query_safe("SELECT count(*) FROM whatsapp.outbox WHERE state IN ('queued', 'sending')");
		last if $left == 0;
	}
	is($left, 0, 'in the end nothing is left');
	is( $session->query_safe("SELECT sum(queued), sum(not_due), sum(sending) FROM whatsapp.tallies"),
		'0|0|0', 'and nothing is counted');
}
$session->quit;
$node->stop;
done_testing();
