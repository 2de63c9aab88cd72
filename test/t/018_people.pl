# Webhooks and answers of Meta's, in whatever order, however often, and in
# whatever batches they come, leave the same rows, and the same people.
#
# By chance, a few people live their lives: they change their phone numbers,
# names and usernames, hide their numbers, get numbers that were another's,
# write, react, edit, revoke, call, are in groups, have two numbers of ours to
# write to, and are sent to.  What Meta tells of that is filed in order once,
# and then shuffled, doubled and batched anew, many times over; and so are the
# webhooks in test/webhooks, and in the corpus.  All tables and views have to be
# the same each time, but for when something came to be here.
#
# If they are not, as much as can be is left out while that stays so, and what
# is left is shown.
#
# It is the same by chance in each run, so that what fails is a change of ours.
# WHATSAPP_SEED=random looks for more, and prints a seed, which repeats it;
# WHATSAPP_STEPS is the number of shuffles.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use File::Find;
use IPC::Run;
use JSON::PP;
use List::Util qw(shuffle min);

my $seed = $ENV{WHATSAPP_SEED} // 77;
$seed = int(rand(2**31)) if $seed eq 'random';
my $shuffles = $ENV{WHATSAPP_STEPS} // 2000;
my $shuffles_of_a_life = 25;
note("WHATSAPP_SEED=$seed");
srand($seed);

my $json = JSON::PP->new->canonical->ascii;
my $node = new_cluster('people', undef, "shared_preload_libraries = ''", 'fsync = off', 'jit = off');
my @numbers = (
	{ phone_number_id => '1001', display_phone_number => '15550100200' },
	{ phone_number_id => '1002', display_phone_number => '15550100201' });

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('1001', waba_id => '9', access_token => 'a'), whatsapp.add_number('1002', waba_id => '9', access_token => 'a');
CREATE TABLE life (event integer PRIMARY KEY, change jsonb, outbox jsonb, reply jsonb);

-- all there is, a line for a row, but for when it came to be here
CREATE FUNCTION lines_of(names text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY names LOOP
		RETURN QUERY EXECUTE format(
			$q$SELECT %L || ' ' || replace((to_jsonb(t) - 'received_at')::text, to_jsonb(now()) #>> '{}', 'NOW') FROM whatsapp.%I t$q$, name, name);
	END LOOP;
END $$;
CREATE FUNCTION table_lines() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY
	SELECT lines_of('{correspondents,contact_sightings,contact_changes,messages,reactions,media,statuses,call_events,
		groups,group_participants,templates,user_preferences,events,evidence,webhooks}');
	RETURN QUERY
	SELECT format('outbox %s %s %s %s', o.id, o.state, o.message_id, o.error_code) FROM whatsapp.outbox o;
END $$;

-- and what follows from it
CREATE FUNCTION view_lines() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY
	SELECT lines_of('{calls,contacts,contact_identifiers,conversations,inbox,message_contacts}');
	RETURN QUERY
	SELECT format('thread %s %s ', c.phone_number_id, c.contact_key) || replace(to_jsonb(t)::text, to_jsonb(now()) #>> '{}', 'NOW')
	FROM whatsapp.contacts c, whatsapp.conversation(c.phone_number_id, c.contact_key, 1000) t;

	-- what one place says of people, others say, too
	RETURN QUERY
	SELECT 'WRONG facts ' || to_jsonb(c)::text
	FROM whatsapp.contacts c, whatsapp.contact_facts(c.phone_number_id, c.contact_key) f
	WHERE (c.name, c.username, c.parent_user_id, c.first_seen, c.last_seen, c.last_inbound_at, c.opted_out)
		IS DISTINCT FROM (f.name, f.username, f.parent_user_id, f.first_seen, f.last_seen, f.last_inbound_at,
			whatsapp.wants_no_marketing(c.phone_number_id, c.contact_key))
	UNION ALL
	SELECT 'WRONG person ' || to_jsonb(m)::text
	FROM whatsapp.message_contacts m
	WHERE m.contact_key IS NOT NULL AND NOT EXISTS (
		SELECT FROM whatsapp.contacts c WHERE (c.phone_number_id, c.contact_key) = (m.phone_number_id, m.contact_key))
	UNION ALL
	SELECT 'WRONG identifier ' || to_jsonb(i)::text
	FROM whatsapp.contact_identifiers i
	WHERE NOT EXISTS (SELECT FROM whatsapp.contacts c WHERE (c.phone_number_id, c.contact_key) = (i.phone_number_id, i.contact_key))
	UNION ALL
	SELECT 'WRONG thread ' || m.phone_number_id || ' ' || m.message_id
	FROM whatsapp.message_contacts m
	JOIN whatsapp.messages o USING (phone_number_id, message_id)
	WHERE m.contact_key IS NOT NULL AND m.group_id IS NULL AND o.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
		AND NOT EXISTS (SELECT FROM whatsapp.thread(m.phone_number_id, m.contact_key, 1000) t WHERE t.message_id = m.message_id)
	UNION ALL
	SELECT 'WRONG conversation ' || c.phone_number_id || ' ' || c.contact_key
	FROM whatsapp.conversations c
	GROUP BY c.phone_number_id, c.contact_key
	HAVING count(*) > 1
	UNION ALL
	SELECT format('WRONG inbox %s %s %s %s', coalesce(c.phone_number_id, i.phone_number_id), coalesce(c.contact_key, i.contact_key), to_jsonb(c), to_jsonb(i))
	FROM whatsapp.conversations c
	FULL JOIN whatsapp.inbox i USING (phone_number_id, contact_key)
	WHERE c.waiting_since IS DISTINCT FROM i.waiting_since
	UNION ALL
	SELECT 'WRONG last message ' || c.phone_number_id || ' ' || c.contact_key || ' ' || c.last_message_id
	FROM whatsapp.conversations c
	-- (of a phone number that went to somebody else, only the newest moment is kept)
	WHERE NOT EXISTS (
		SELECT FROM whatsapp.messages m
		WHERE (m.phone_number_id, m.message_id) = (c.phone_number_id, c.last_message_id)
			AND (m.sent_at = c.last_message_at
				OR m.sent_at > c.last_message_at AND EXISTS (
					SELECT FROM whatsapp.contact_ids(c.phone_number_id, c.contact_key) i WHERE i.is_shared OR i.until < 'infinity')));
END $$;

-- files events as a plan says: of each body the events whose changes it has, or
-- an answer to record
CREATE FUNCTION file(plan jsonb, with_views boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	step jsonb;
	answers life;
	all_lines text[];
BEGIN
	BEGIN
		INSERT INTO whatsapp.outbox (id, phone_number_id, recipient, recipient_type, body, created_at, state, nonce, attempts)
		OVERRIDING SYSTEM VALUE
		SELECT (l.outbox ->> 'id')::bigint, l.outbox ->> 'phone_number_id', l.outbox ->> 'recipient', l.outbox ->> 'recipient_type',
			l.outbox ->> 'body', '2025-06-01', 'sending', l.outbox ->> 'nonce', 1
		FROM life l
		WHERE l.outbox IS NOT NULL;
		FOR step IN SELECT s.value FROM jsonb_array_elements(plan) s LOOP
			IF jsonb_typeof(step) = 'array' THEN
				PERFORM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry',
					(SELECT jsonb_agg(jsonb_build_object('id', '9', 'changes', jsonb_build_array(
							jsonb_build_object('field', l.change -> 'field', 'value', l.change -> 'value'))) ORDER BY e.ord)
						FROM jsonb_array_elements(step) WITH ORDINALITY e (n, ord)
						JOIN life l ON l.event = (e.n)::integer)));
			ELSIF jsonb_typeof(step) = 'object' THEN
				PERFORM whatsapp.ingest_unsigned(step);
			ELSE
				SELECT l.* INTO answers FROM life l WHERE l.event = step::integer;
				PERFORM whatsapp.record(ARRAY[(answers.outbox ->> 'id')::bigint], ARRAY[answers.outbox ->> 'nonce'], ARRAY['answered'],
					ARRAY[200], ARRAY[answers.reply], ARRAY[NULL::text], ARRAY[NULL::integer]);
			END IF;
		END LOOP;
		all_lines := ARRAY(SELECT l FROM table_lines() l ORDER BY l COLLATE "C");
		IF with_views THEN
			all_lines := all_lines || 'VIEWS'::text || ARRAY(SELECT l FROM view_lines() l ORDER BY l COLLATE "C");
		END IF;
		RAISE EXCEPTION USING ERRCODE = 'TEST0';
	EXCEPTION WHEN SQLSTATE 'TEST0' THEN
		NULL;	-- all of that has not happened
	END;
	RETURN QUERY SELECT unnest(all_lines);
END $$;
SQL


#
# Lives
#

my ($time, $serial, @events, @people, %known);

sub chance
{
	return rand() < $_[0];
}

sub any
{
	return $_[ rand(@_) ];
}

sub new_id
{
	return "wamid." . ++$serial;
}

# of what is told, something may be left out
sub told
{
	my (%hash) = @_;

	return { map { defined $hash{$_} ? ($_ => $hash{$_}) : () } keys %hash };
}

sub contact
{
	my ($person, %told) = @_;

	return told(
		wa_id => $told{wa_id},
		user_id => $told{user_id},
		parent_user_id => $told{user_id} && $person->{parent},
		profile => told(name => $person->{name}, username => $told{user_id} && $person->{username}));
}

sub add_change
{
	my ($number, $field, %value) = @_;

	push @events,
	  {
		change => {
			field => $field,
			value => { messaging_product => 'whatsapp', metadata => $number, %value }
		}
	  };
	return;
}

# how somebody is told: older webhooks have no BSUID, newer ones may have no
# phone number
sub told_ids
{
	my ($person) = @_;
	my $which = $person->{hidden} ? 'user' : any(qw(both both both user phone));

	return (
		wa_id => $which eq 'user' ? undef : $person->{phone},
		user_id => $which eq 'phone' ? undef : $person->{user_id});
}

sub message_in
{
	my ($person, $number, %message) = @_;
	my %ids = told_ids($person);
	my $id = new_id();

	add_change(
		$number,
		'messages',
		chance(0.7) ? (contacts => [ contact($person, %ids) ]) : (),
		messages => [
			told(
				id => $id,
				timestamp => "$time",
				from => $ids{wa_id},
				from_user_id => $ids{user_id},
				%message) ]);
	push @{ $known{$number->{phone_number_id}} }, { id => $id, person => $person };
	return $id;
}

sub live
{
	my ($person) = @_;
	my $number = any(@numbers);
	my $known = $known{ $number->{phone_number_id} } // [];
	my $target = @$known ? any(@$known)->{id} : 'wamid.of_old';
	my $what = any(
		qw(write write write write reply react react edit revoke photo group called rename status echo sent sent change change wish sync history ad));

	$time += any(0, 0, 1, 1, 2, 10, 3600, 90000);
	if ($what eq 'write')
	{
		message_in($person, $number, type => 'text', text => { body => "words $serial" });
	}
	elsif ($what eq 'reply')
	{
		message_in($person, $number, type => 'text', text => { body => "answer $serial" }, context => { id => $target });
	}
	elsif ($what eq 'ad')
	{
		message_in($person, $number, type => 'text', text => { body => "from an ad" }, referral => { source_type => 'ad', source_id => '7' });
	}
	elsif ($what eq 'react')
	{
		message_in($person, $number, type => 'reaction', reaction => told(message_id => $target, emoji => any("+", "-", undef)));
	}
	elsif ($what eq 'edit')
	{
		message_in($person, $number, type => 'edit',
			edit => { original_message_id => $target, message => { type => 'text', text => { body => "edited $serial" } } });
	}
	elsif ($what eq 'revoke')
	{
		message_in($person, $number, type => 'revoke', revoke => { original_message_id => $target });
	}
	elsif ($what eq 'photo')
	{
		message_in($person, $number, type => 'image', image => { id => 'media' . ++$serial, caption => 'see', mime_type => 'image/jpeg' });
	}
	elsif ($what eq 'group')
	{
		message_in($person, $number, type => 'text', group_id => any(qw(G1 G2)), text => { body => 'to all' });
		add_change(
			$number,
			'group_participants_update',
			groups => [
				{
					type => any(qw(group_participants_add group_participants_remove)),
					group_id => any(qw(G1 G2)),
					timestamp => "$time",
					any(qw(added_participants removed_participants)) => [ told(told_ids($person)) ]
				}
			]);
	}
	elsif ($what eq 'called')
	{
		my %ids = told_ids($person);

		add_change($number, 'calls',
			calls => [
				told(
					id => 'wacid.' . ++$serial, event => any(qw(connect terminate)), direction => 'USER_INITIATED',
					from => $ids{wa_id}, from_user_id => $ids{user_id}, to => $number->{display_phone_number}, timestamp => "$time") ]);
	}
	elsif ($what eq 'rename')
	{
		$person->{name} = any(qw(Ada Bo Cy Di)) . " $serial";
		$person->{username} = chance(0.7) ? "user$serial" : undef;
		$person->{hidden} = $person->{username} && chance(0.5);
	}
	elsif ($what eq 'status')
	{
		my %ids = told_ids($person);

		add_change(
			$number,
			'messages',
			chance(0.5) ? (contacts => [ contact($person, %ids) ]) : (),
			statuses => [
				told(
					id => $target,
					status => any(qw(sent delivered read failed)),
					timestamp => "$time",
					recipient_id => $ids{wa_id},
					recipient_user_id => $ids{user_id}) ]);
	}
	elsif ($what eq 'echo')
	{
		my %ids = told_ids($person);

		add_change(
			$number,
			'smb_message_echoes',
			message_echoes => [
				told(
					id => new_id(), from => $number->{display_phone_number}, to => $ids{wa_id}, to_user_id => $ids{user_id},
					timestamp => "$time", type => 'text', text => { body => "from the phone $serial" }) ]);
	}
	elsif ($what eq 'sent')
	{
		# an answer of ours, what Meta says to it, and how far it gets
		my $by_phone = !$person->{hidden} && chance(0.7);
		my $wa_id = $person->{phone};
		my $id = new_id();
		my $outbox_id = ++$serial;
		my $nonce = sprintf('%016x', $outbox_id);

		# as people write it, and Meta does not
		my $input = $wa_id =~ s/^52([2-9])/521$1/r;
		my $recipient = $by_phone ? "+$input" : $person->{user_id};

		push @events,
		  {
			outbox => {
				id => $outbox_id, phone_number_id => $number->{phone_number_id}, recipient => $recipient,
				recipient_type => 'individual', body => "an answer $serial", nonce => $nonce
			},
			reply => {
				messaging_product => 'whatsapp',
				contacts => [ $by_phone ? { input => "+$input", wa_id => $wa_id } : { input => $recipient, user_id => $recipient } ],
				messages => [ { id => $id } ]
			}
		  };
		foreach my $status (grep { chance(0.5) } qw(sent delivered read failed))
		{
			my %ids = (
				wa_id => $by_phone ? $wa_id : undef,
				user_id => $by_phone && chance(0.3) ? undef : $person->{user_id});

			add_change(
				$number,
				'messages',
				chance(0.5) ? (contacts => [ contact($person, %ids) ]) : (),
				statuses => [
					told(
						id => $id,
						status => $status,
						timestamp => "$time",
						recipient_id => $ids{wa_id},
						recipient_user_id => $ids{user_id},
						biz_opaque_callback_data => "wa1.$outbox_id.1.$nonce",
						$status eq 'failed' ? (errors => [ { code => 131026, title => 'no' } ]) : ()) ]);
		}
		push @{ $known{$number->{phone_number_id}} }, { id => $id };
	}
	elsif ($what eq 'change')
	{
		# all numbers of ours that they write to are told, each in its way
		my $way = any(qw(full full bare legacy silent));
		my %old = %$person;
		my @free = grep { my $phone = $_; !grep { $_->{phone} eq $phone } @people } map { "5255512300$_" } 10 .. 10 + @people;

		push @{ $person->{had} }, $person->{phone};
		$person->{phone} = any(@free);
		$person->{user_id} = 'MX.' . ++$serial;
		foreach my $told_number (@numbers)
		{
			next if $way eq 'silent';
			my %system =
			    $way eq 'full'
			  ? (type => 'user_changed_number', wa_id => $person->{phone}, user_id => $person->{user_id}, previous_user_id => $old{user_id})
			  : $way eq 'bare'
			  ? (type => 'user_changed_user_id', user_id => $person->{user_id}, previous_user_id => $old{user_id})
			  : (type => 'user_changed_number', wa_id => $person->{phone});

			add_change(
				$told_number,
				'messages',
				messages => [
					told(
						id => new_id(), timestamp => "$time", type => 'system', system => { body => 'changed', %system },
						from => $way eq 'bare' ? undef : $old{phone},
						from_user_id => $way eq 'full' && chance(0.5) ? $person->{user_id} : undef) ]);
		}
	}
	elsif ($what eq 'wish')
	{
		my %ids = told_ids($person);

		add_change($number, 'user_preferences',
			user_preferences =>
			  [ told(%ids, category => 'marketing_messages', value => any(qw(stop resume)), timestamp => $time) ]);
	}
	elsif ($what eq 'sync')
	{
		add_change($number, 'smb_app_state_sync',
			state_sync => [
				{
					type => 'contact', action => any(qw(add remove)),
					contact => told(phone_number => $person->{phone}, user_id => chance(0.5) ? $person->{user_id} : undef),
					metadata => { timestamp => "$time" }
				}
			]);
	}
	elsif ($what eq 'history')
	{
		add_change($number, 'history',
			history => [
				{
					metadata => { phase => 0, chunk_order => 1, progress => 50 },
					threads => [
						{
							id => $person->{phone},
							context => told(wa_id => $person->{phone}, user_id => $person->{user_id}, username => $person->{username}),
							messages => [
								{
									id => new_id(), from => $number->{display_phone_number}, to => $person->{phone}, timestamp => "$time",
									type => 'text', text => { body => 'of old' }, history_context => { status => any(qw(SENT READ ERROR)) }
								},
								{
									id => $target, from => $person->{phone}, timestamp => "$time", type => 'media_placeholder',
									history_context => { status => 'DELIVERED' }
								}
							]
						}
					]
				}
			]);
	}
	return;
}

sub new_life
{
	($time, $serial, @events, %known) = (1750101000, 0);
	my $npeople = int(rand(3)) + 1;

	@people = map {
		{
			phone => "525551230001$_", user_id => "MX.9$_", parent => any(undef, "MX.ENT.$_"),
			name => "First $_", hidden => 0, username => undef
		}
	} 1 .. $npeople;
	$_->{phone} = '5255512300' . (10 + $_->{user_id} =~ s/\D//gr % 10) foreach @people;
	live(any(@people)) while @events < 5 + rand(20);
	return;
}

#
# Plans: bodies with the changes of events, and answers
#

sub plan_of
{
	my (@order) = @_;
	my @plan;

	foreach my $n (@order)
	{
		if (!$events[$n]{change})
		{
			push @plan, $n;
		}
		elsif (@plan && ref $plan[-1] && chance(0.5))
		{
			push @{ $plan[-1] }, $n;
		}
		else
		{
			push @plan, [$n];
		}
	}
	return \@plan;
}

# Two values of one number can be one, if they say the same of everybody who is
# in both: else it could not be told when each was said.
sub merge_values
{
	my ($value, $other) = @_;

	return if $json->encode($value->{metadata}) ne $json->encode($other->{metadata});
	foreach my $pair ([ $value, $other ], [ $other, $value ])
	{
		my ($one, $two) = @$pair;
		my %said = map { $json->encode($_) => 1 } @{ $two->{contacts} // [] };
		my %named;

		foreach my $element (map { @{ $two->{$_} // [] } } qw(contacts messages statuses))
		{
			$named{ $element->{$_} // '' } = 1
			  foreach qw(wa_id user_id from from_user_id recipient_id recipient_user_id);
		}

		foreach my $contact (@{ $one->{contacts} // [] })
		{
			return if !$said{ $json->encode($contact) } && grep { $contact->{$_} && $named{ $contact->{$_} } } qw(wa_id user_id);
		}
	}
	my %merged = (%$value);
	foreach my $key (grep { ref $other->{$_} eq 'ARRAY' } keys %$other)
	{
		my %there = map { $json->encode($_) => 1 } @{ $value->{$key} // [] };

		$merged{$key} = [ @{ $value->{$key} // [] }, grep { $key ne 'contacts' || !$there{ $json->encode($_) } } @{ $other->{$key} } ];
	}
	return \%merged;
}

# As plan_of(), but with the values of a body made one where that can be
sub merged_plan
{
	my ($plan) = @_;

	return [
		map {
			my $step = $_;
			my @changes;

			foreach my $change (ref $step ? map { $events[$_]{change} } @$step : ())
			{
				my $merged = @changes && $changes[-1]{field} eq 'messages' && $change->{field} eq 'messages'
				  && merge_values($changes[-1]{value}, $change->{value});

				if ($merged)
				{
					$changes[-1] = { field => 'messages', value => $merged };
				}
				else
				{
					push @changes, $change;
				}
			}
			ref $step ? { object => 'whatsapp_business_account', entry => [ { id => '9', changes => \@changes } ] } : $step;
		} @$plan ];
}

sub shuffled_plan
{
	my (@chosen) = @_;
	my @order = shuffle(@chosen, grep { chance(0.2) } @chosen);
	my $plan = plan_of(@order);

	return chance(0.3) ? merged_plan($plan) : $plan;
}

# Files plans, and returns what each comes to.  What follows from the tables is
# looked at for the first and the last, as it cannot differ where the tables do
# not, unless by their order on disk.
sub file_plans
{
	my (@plans) = @_;
	my $sql = 'TRUNCATE life; ';

	foreach my $n (0 .. $#events)
	{
		$sql .= sprintf('INSERT INTO life VALUES (%d, %s, %s, %s); ',
			$n, map { $_ ? "'" . $json->encode($_) =~ s/'/''/gr . "'" : 'NULL' } @{ $events[$n] }{qw(change outbox reply)});
	}
	foreach my $n (0 .. $#plans)
	{
		$sql .= sprintf("SELECT string_agg(l, E'\\n') || E'\\n=' FROM file('%s', %s) l;\n",
			$json->encode($plans[$n]) =~ s/'/''/gr, $n == 0 || $n == $#plans ? 'true' : 'false');
	}
	my @answers = split(/\n=\n?/, $node->safe_psql('postgres', $sql));

	die scalar(@answers) . ' answers' if @answers != @plans;
	return @answers;
}

# Is it the same, as far as it was looked at?
sub is_same
{
	my ($one, $other) = @_;

	($one, $other) = map { s/\nVIEWS.*//sr } ($one, $other) if $one !~ /\nVIEWS/ || $other !~ /\nVIEWS/;
	return $one eq $other;
}

sub difference
{
	my ($one, $other) = @_;
	my %more;

	($one, $other) = map { s/\nVIEWS.*//sr } ($one, $other) if $one !~ /\nVIEWS/ || $other !~ /\nVIEWS/;

	$more{$_}++ foreach split(/\n/, $one);
	$more{$_}-- foreach split(/\n/, $other);
	return join("\n", map { sprintf('%+d %s', -$more{$_}, $_) } grep { $more{$_} } sort keys %more);
}

# Leave out what can be, while two plans still come to different things
sub shrink
{
	my ($plan) = @_;
	my $left = $plan;
	my $drop = sub {
		my ($gone, $in) = @_;

		return [
			grep { !ref || ref eq 'HASH' || @$_ }
			map { ref eq 'ARRAY' ? [ grep { $_ != $gone } @$_ ] : $_ }
			grep { ref || $_ != $gone } @$in ];
	};
	my @chosen = grep { defined } map { $_ } 0 .. $#events;

	return (\@chosen, $plan) if grep { ref eq 'HASH' } @$plan;
	for (my $changed = 1; $changed;)
	{
		$changed = 0;
		foreach my $gone (@chosen)
		{
			my @fewer = grep { $_ != $gone } @chosen;
			my $try = $drop->($gone, $left);
			my ($one, $other) = file_plans([ map { $events[$_]{change} ? [$_] : $_ } @fewer ], $try);

			next if is_same($one, $other);
			@chosen = @fewer;
			$left = $try;
			$changed = 1;
			last;
		}
	}
	return (\@chosen, $left);
}

my ($nlives, $nshuffles, $nrows, $failed) = (0, 0, 0, 0);

while ($nshuffles < $shuffles && !$failed)
{
	new_life();
	my @all = 0 .. $#events;
	my @plans = (
		[ map { $events[$_]{change} ? [$_] : $_ } @all ],
		map { shuffled_plan(@all) } 1 .. min($shuffles_of_a_life, $shuffles - $nshuffles));
	my ($first, @others) = file_plans(@plans);

	$nlives++;
	if (my @wrong = grep { /^WRONG/ } split(/\n/, $first))
	{
		$failed = 1;
		diag(join("\n", (map { "event $_: " . $json->encode($events[$_]) } 0 .. $#events), @wrong));
		last;
	}
	$nrows += () = $first =~ /\n/g;
	foreach my $i (0 .. $#others)
	{
		$nshuffles++;
		next if is_same($first, $others[$i]);
		$failed = 1;
		my ($chosen, $plan) = shrink($plans[ $i + 1 ]);
		my ($one, $other) = ($first, $others[$i]);

		($one, $other) = file_plans([ map { $events[$_]{change} ? [$_] : $_ } @$chosen ], $plan)
		  if !grep { ref eq 'HASH' } @$plan;

		diag(join("\n", map { "event $_: " . $json->encode($events[$_]) } @$chosen));
		diag('filed in order, and as ' . $json->encode($plan));
		diag(difference($one, $other));
		last;
	}
}
ok(!$failed, 'lives come to the same in whatever order they are told') or diag("WHATSAPP_SEED=$seed");
note("$nlives lives, $nshuffles shuffles, $nrows rows");
cmp_ok($nrows, '>', 20 * $nlives, 'there is something in them') if !$failed;

#
# Webhooks as they were published
#

my $corpus = ($ENV{WHATSAPP_SHARED} // '') . '/corpus/webhooks';
my @bodies = map { eval { $json->decode(slurp_file($_)) } // () } sort(glob('test/webhooks/*.json'));

if (-d $corpus)
{
	my @files;

	find(sub { push @files, $File::Find::name if /\.json$/ }, $corpus);
	push @bodies, map { eval { $json->decode(slurp_file($_)) } // () } sort @files;
}
else
{
	diag('THE CORPUS IS NOT HERE: only the webhooks of our own are shuffled');
}
@events = ();
my @shuffled = (\@bodies, map { [ shuffle(@bodies, grep { chance(0.2) } @bodies) ] } 1 .. 3);
my ($first, @others) = file_plans(@shuffled);
foreach my $i (0 .. $#others)
{
	is(is_same($first, $others[$i]) ? '' : substr(difference($first, $others[$i]), 0, 5000), '', 'published webhooks, shuffle ' . ($i + 1));
}

$node->stop;
done_testing();
