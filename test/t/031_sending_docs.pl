# docs/sending.md says how messages are queued, and it is so: all its examples
# are run, and what they queue leaves.
#
# An example begins with a comment if it is not to end well: "-- error: WA001",
# or "-- state: failed" of the rows that it queues.  JSON below it is what
# leaves: of all its rows in an array, or else of the last; other text below it
# is what psql prints.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

use constant PAGE => 'docs/sending.md';
use constant WABA => '102290129340398';

my $page = slurp_file(PAGE);
my $json = JSON::PP->new->utf8;

# Blocks, each with the line that it begins in
my @blocks;
while ($page =~ /^```(\w*)\n(.*?)^```$/msg)
{
	push @blocks, { language => $1, text => $2, line => 1 + (substr($page, 0, $-[0]) =~ tr/\n//) };
}
is(scalar(() = $page =~ /^```/mg), 2 * @blocks, 'blocks begin and end');
cmp_ok(scalar(grep { $_->{language} eq 'sql' } @blocks), '>', 30, 'there are examples');

my $graph = start_graph();
my $node = new_cluster('sending', $graph);
add_number($node);

# What the page says has come, and is known
sub ingest
{
	my ($number, $field, $value) = @_;

	$value->{metadata} = { phone_number_id => $number } if $field eq 'messages';
	my $webhook = $json->encode(
		{
			object => 'whatsapp_business_account',
			entry => [ { id => WABA, time => time(), changes => [ { field => $field, value => $value } ] } ]
		});
	$node->safe_psql('postgres', "SELECT whatsapp.ingest_unsigned(\$w\$$webhook\$w\$)");
	return;
}

sub message
{
	my (%more) = @_;

	return { timestamp => time() . '', type => 'text', text => { body => 'Hello?' }, %more };
}

ingest(
	NUMBER,
	'messages',
	{
		messages => [
			message(id => 'wamid.QUESTION', from => '15551234567'),
			message(id => 'wamid.HIDDEN', from_user_id => 'US.13491208655302741918'),
			message(id => 'wamid.GROUP', from => '15551234567', group_id => 'R1JPVVAtRVhBTVBMRS0wMDE=')
		]
	});
ingest(
	NUMBER,
	'template_category_update',
	{
		message_template_id => 1689000000000001,
		message_template_name => 'summer_sale',
		message_template_language => 'en_US',
		previous_category => 'UTILITY',
		new_category => 'MARKETING'
	});
is( $node->safe_psql('postgres',
		"SELECT (SELECT count(*) FROM whatsapp.messages), (SELECT string_agg(category, ',') FROM whatsapp.templates)"),
	'3|MARKETING', 'three messages have come, and a template is known');

# Run SQL as psql does, and return what it prints, the SQLSTATE, and the error
# as it is shown
sub run_sql
{
	my ($sql) = @_;
	my ($stdout, $stderr);

	$node->psql(
		'postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$stdout,
		stderr => \$stderr,
		extra_params => [ '-P', 'format=aligned', '-P', 'tuples_only=off', '-P', 'footer=off' ]);
	my ($state, $message) = $stderr =~ /^(?:psql:[^\n]*?: )?ERROR:  (\w{5}): (.*)$/m;
	my $error = defined $state
	  ? join("\n", "ERROR:  $message", $stderr =~ /^((?:DETAIL|HINT):  .*)$/mg)
	  : $stderr;
	return ($stdout, $state // '', $error);
}

# What was sent for a row of the outbox
sub requests_of
{
	my ($id, $type, $message_id) = @_;

	return grep {
		my $body = $_->{body};
		$type =~ /^(?:mark_read|typing)$/
		  ? ($body->{status} // '') eq 'read' && $body->{message_id} eq $message_id
		  && exists $body->{typing_indicator} == ($type eq 'typing')
		  : ($body->{biz_opaque_callback_data} // '') =~ /^wa1\.$id\./
	} @{ graph_get($graph, '/_log') };
}

sub lines
{
	return join("\n", map { s/\s+$//r } split(/\n/, $_[0]));
}

my %expected = (sent => 0);
my $ncompared = 0;
for (my $i = 0; $i < @blocks; $i++)
{
	my $block = $blocks[$i];
	my $name = PAGE . ':' . $block->{line};

	next if $block->{language} ne 'sql';
	my $sql = $block->{text};
	my ($error) = $sql =~ /^-- error: (\w+)$/m;
	my ($state) = $sql =~ /^-- state: (\w+)$/m;
	my $below = $blocks[ $i + 1 ] // { language => 'none' };
	$below = { language => 'none' }
	  if $below->{language} eq 'sql' || $below->{line} > $block->{line} + 4 + ($sql =~ tr/\n//);

	my $newest = $node->safe_psql('postgres', 'SELECT coalesce(max(id), 0) FROM whatsapp.outbox');
	my ($printed, $sqlstate, $message) = run_sql($sql);
	is($sqlstate, $error // '', "$name: " . ($error ? "error $error" : 'no error'))
	  or diag($message);
	is($message, '', "$name: nothing else is said") if !$error;
	if ($below->{language} eq '')
	{
		is(lines($error ? $message : $printed), lines($below->{text}), "$name: what psql prints");
		$ncompared++;
	}

	my @rows = map { [ split(/\|/) ] } split(/\n/, $node->safe_psql('postgres',
			"SELECT id, type, coalesce(content ->> 'message_id', '') FROM whatsapp.outbox WHERE id > $newest ORDER BY id"));
	if ($error)
	{
		is(scalar(@rows), 0, "$name: nothing is queued");
		next;
	}
	cmp_ok(scalar(@rows), '>', 0, "$name: something is queued")
	  if $sql =~ /INSERT INTO whatsapp\.outbox|whatsapp\.(?:send_\w+|reply|mark_read|typing|enqueue)\(/;
	next if !@rows;

	$state //= 'sent';
	$expected{$state} += @rows;
	wait_for_state($node, "id > $newest", $state, "$name: $state");
	my @requests = map { [ requests_of(@$_) ] } @rows;
	is(join(',', map { scalar(@$_) } @requests),
		join(',', ($state eq 'sent' ? 1 : 0) x @rows), "$name: requests of each row");
	next if $below->{language} ne 'json';

	my $promised = eval { $json->decode($below->{text} =~ s/^\s+//r) };
	ok(defined $promised, "$name: the JSON below is JSON") or next;
	my @sent = map { $_->[0]{body} } @requests;
	delete $_->{biz_opaque_callback_data} foreach @sent;
	is_deeply(ref $promised eq 'ARRAY' ? \@sent : $sent[-1], $promised, "$name: what leaves");
	$ncompared++;
}
is( $ncompared,
	scalar(grep { $_->{language} ne 'sql' } @blocks),
	'all other blocks are held against something');

# In the end
$expected{cancelled} = delete $expected{queued};
is( $node->safe_psql('postgres',
		'SELECT state, count(*) FROM whatsapp.outbox GROUP BY state ORDER BY state'),
	join("\n", map { "$_|$expected{$_}" } sort keys %expected),
	'the outbox in the end');
is( $node->safe_psql('postgres',
		"SELECT recipient, error_code FROM whatsapp.outbox WHERE state = 'failed'"),
	'+1 555 123-0009|131050',
	'who has opted out has got nothing');
is(graph_requests($graph), $expected{sent}, 'and nothing else was sent');
my %edges;
$edges{ ($_->{path} =~ m{/(\w+)$})[0] }{ $_->{body}{template}{name} // '' }++
  foreach @{ graph_get($graph, '/_log') };
is(join(',', keys %{ $edges{marketing_messages} }), 'summer_sale', 'marketing messages');
ok(!$edges{messages}{summer_sale}, 'go where they should, all of them');

# Level sender is enough to queue many: of opt-outs it is told nothing
$node->safe_psql('postgres', "CREATE ROLE shop LOGIN; SELECT whatsapp.grant_access('shop', 'sender')");
is( $node->safe_psql(
		'postgres',
		"SELECT string_agg(coalesce(split_part(whatsapp.why_not(r.phone, 'template', whatsapp.template_content('summer_sale', 'en_US')), E'\\n', 1), 'fine'), '|')
		 FROM unnest('{+1 555 123-0009,0555 123-0002}'::text[]) r (phone)",
		extra_params => [ '-U', 'shop' ]),
	'fine|message has an invalid recipient',
	'why not, as who only sends is told');
is( $node->safe_psql(
		'postgres',
		"INSERT INTO whatsapp.outbox (recipient, body, idempotency_key)
		 SELECT '+1 555 123-4567', 'Hello', k FROM unnest('{shop 1,shop 1,summer 2026 1}'::text[]) k
		 ON CONFLICT (phone_number_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
		 RETURNING idempotency_key",
		extra_params => [ '-U', 'shop' ]),
	'shop 1',
	'each key is queued once, whoever has used it');
wait_for_state($node, "idempotency_key = 'shop 1'", 'sent', 'and sent');
is( $node->safe_psql(
		'postgres',
		"SELECT concat_ws('|', whatsapp.why_not('15551234567', NULL, '{}'), whatsapp.why_not('15551234567', 'text', NULL, 'Hello', recipient_type => NULL))"),
	'message has an invalid type',
	'and what is not given is what it is by default');

# A header is a text in each of these forms, or none, which is left out then
is( $node->safe_psql(
		'postgres',
		q{SELECT h, c #>> '{components,0,parameters,0,text}', c ? 'components'
		  FROM (VALUES (1, jsonb '"A"'), (2, '["B"]'), (3, '{"name": "C"}'), (4, '[]'), (5, '{}'), (6, 'null')) v (n, h)
		  CROSS JOIN LATERAL whatsapp.template_content('t', 'en', header => h) t (c)
		  ORDER BY n}),
	join("\n", '"A"|A|t', '["B"]|B|t', '{"name": "C"}|C|t', '[]||f', '{}||f', 'null||f'),
	'headers');

# All functions are in the page, with all their arguments
my @functions = map { [ split(/\|/) ] } split(/\n/, $node->safe_psql('postgres',
		"SELECT proname, array_to_string(proargnames, ',') FROM pg_proc
		 WHERE pronamespace = 'whatsapp'::regnamespace AND proname ~ '^send_|^(reply|mark_read|typing)\$'
			AND prorettype = 'bigint'::regtype
		 ORDER BY 1"));
cmp_ok(scalar(@functions), '>', 25, 'there are functions');
my $examples = join('', map { $_->{text} } grep { $_->{language} eq 'sql' } @blocks);
is(join(' ', grep { $examples !~ /whatsapp\.$_\(/ } map { $_->[0] } @functions),
	'', 'each function has an example');

my %arguments = map { $_->[0] => [ split(/,/, $_->[1]) ] }
  grep { $_->[1] =~ /^recipient,/ } @functions;
my %of_how_many;
$of_how_many{$_}++ foreach map { @$_ } values %arguments;
my @common = sort grep { $of_how_many{$_} == keys %arguments && $_ ne 'recipient' } keys %of_how_many;
my ($common) = $page =~ /^## What all of them take\n(.*?)^## /ms;
is("@{[ sort $common =~ /^\| `(\w+)` \|/mg ]}", "@common", 'what all of them take');

my %told;
my ($kinds) = $page =~ /^## A function for each kind\n(.*?)^## /ms;
while ($kinds =~ /^\| (`send_.*?) \| (.*?) \|/mg)
{
	my ($names, $own) = ($1, $2);

	$told{$_} = join(' ', $own =~ /`(\w+)`/g) foreach $names =~ /`(\w+)`/g;
}
my %is_common = map { $_ => 1 } 'recipient', @common;
is_deeply(
	\%told,
	{
		map {
			$_ => join(' ', grep { !$is_common{$_} } @{ $arguments{$_} })
		} keys %arguments
	},
	'what each takes');

# So are all errors
my ($errors) = $page =~ /^## Errors when you queue\n(.*?)^## /ms;
my @complaints = $node->safe_psql('postgres',
	"SELECT pg_get_functiondef('whatsapp.row_complaint(whatsapp.outbox)'::regprocedure)") =~ /THEN E?'([^'\n]+?)(?:\\n|\n)/g;
cmp_ok(scalar(@complaints), '>', 10, 'there are complaints about rows');
is(join(', ', grep { $errors !~ /^\| \Q$_\E \|/m } @complaints, 'message is to be sent from an unknown number'),
	'', 'each is in the page');
is( join(', ',
		grep { $errors !~ /^\| … .* \|(?: `[a-z ]+`,)? `\Q$_\E`(?:, `[a-z ]+`)? \|/m }
		  split(/\n/, $node->safe_psql('postgres', 'SELECT DISTINCT kind FROM whatsapp.message_rules() ORDER BY 1'))),
	'',
	'each kind of rule is');

my ($later) = $page =~ /^## Errors that only Meta can tell\n(.*)/ms;
my @classes = sort $later =~ /^\| (\d+ \| .*? \| `\w+`) \|/mg;
s/ .*`(\w+)`$/ $1/ foreach @classes;
is(scalar(@classes), 11, 'errors of Meta\'s are in the page');
is( $node->safe_psql('postgres', sprintf(
			"SELECT code || ' ' || class FROM whatsapp.shipped_error_classes WHERE code IN (%s) AND subcode = 0 AND details = '' ORDER BY code",
			join(',', map { /^(\d+)/ } @classes))),
	join("\n", @classes), 'with their classes');

# With several numbers: a message of that id has come to both
$node->safe_psql('postgres',
	"SELECT whatsapp.add_number('106540352242923', access_token => '" . TOKEN . "')");
ingest('106540352242923', 'messages',
	{ messages => [ message(id => 'wamid.QUESTION', from => '15551234567') ] });
foreach my $case (
	[ "reply('wamid.QUESTION', 'At nine.')", 'P0003' ],
	[ "send_reaction('wamid.QUESTION', '👍')", 'P0003' ],
	[ "mark_read('wamid.QUESTION')", 'P0003' ],
	[ "typing('wamid.QUESTION')", 'P0003' ],
	[ "send_reaction('wamid.NEVER_SEEN', '👍')", 'P0002' ],
	[ "mark_read('wamid.NEVER_SEEN')", 'P0002' ],
	[ "typing('wamid.NEVER_SEEN')", 'P0002' ],
	[ "send_text('+1 555 123-4567', 'Hello')", 'WA001' ])
{
	my ($call, $expected) = @$case;
	my (undef, $sqlstate, $message) = run_sql("SELECT whatsapp.$call");

	is($sqlstate, $expected, "$call with several numbers: $expected");
	$message =~ s/^ERROR:  (.*?)\n.*/$1/s;
	$message =~ s/"[^"]*"/"…"/;
	$message =~ s/\b\d+\b/N/;
	like($errors, qr/^\|.* \Q$message\E \|/m, 'which is in the page');
}
my $newest = $node->safe_psql('postgres', 'SELECT max(id) FROM whatsapp.outbox');
$node->safe_psql('postgres',
	"SELECT whatsapp.reply('wamid.QUESTION', 'At nine.', from_number => '106540352242923'), whatsapp.mark_read('wamid.HIDDEN'), whatsapp.mark_read('wamid.NEVER_SEEN', '106540352242923')");
wait_for_state($node, "id > $newest", 'sent', 'with the number they are sent');
is( $node->safe_psql('postgres',
		"SELECT string_agg(phone_number_id, ',' ORDER BY id) FROM whatsapp.outbox WHERE id > $newest"),
	join(',', '106540352242923', NUMBER, '106540352242923'),
	'from the number that they should be');

$node->stop;
done_testing();
