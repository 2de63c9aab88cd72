# Read and typing calls, answers, marketing messages and Direct Send; and that
# what is queued arrives byte for byte, or is refused, whatever it is.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

use constant OTHER_NUMBER => '106540352242923';

my $true = JSON::PP::true;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $graph = start_graph();
my $node = new_cluster('calls', $graph, 'restart_after_crash = on', "whatsapp.poll_interval = '200ms'");
add_number($node);
$node->safe_psql('postgres', sprintf(
		"SELECT whatsapp.add_number('%s', waba_id => '102290129340398', access_token => '%s')",
		OTHER_NUMBER, TOKEN));
my $sender = wait_for_sender($node);

sub sql
{
	my ($query) = @_;

	utf8::encode($query);
	return $node->safe_psql('postgres', $query);
}

# Text as a literal, whatever is in it
sub literal
{
	my ($text) = @_;

	return 'NULL' if !defined $text;
	utf8::encode($text);
	return "convert_from('\\x" . unpack('H*', $text) . "', 'UTF8')";
}

sub script
{
	my ($whom, %behaviour) = @_;

	graph_post($graph, '/_script', { recipient => $whom, %behaviour });
	return;
}

# Requests to a recipient, or calls about a message
sub requests_of
{
	my ($whom) = @_;

	return @{ graph_get($graph, "/_log?recipient=$whom") };
}

# The only such request
sub request_of
{
	my ($whom) = @_;
	my @requests = requests_of($whom);

	is(scalar(@requests), 1, "one request: $whom");
	return $requests[0];
}

# What a statement says when it fails
sub error_of
{
	my ($query) = @_;
	my ($out, $errors);

	utf8::encode($query);
	$node->psql('postgres', "\\set VERBOSITY verbose\n$query", stdout => \$out, stderr => \$errors);
	return $errors;
}

sub state_is
{
	my ($where, $state, $what) = @_;

	return wait_for_state($node, $where, $state, $what);
}

sub pause { sql("SELECT whatsapp.pause_number('@{[NUMBER]}')"); return }
sub resume { sql("SELECT whatsapp.resume_number('@{[NUMBER]}')"); return }

#
# What they are
#

sql("SELECT whatsapp.mark_read('wamid.READ', '@{[NUMBER]}'), whatsapp.typing('wamid.TYPE', '@{[NUMBER]}')");
state_is("content ->> 'message_id' IN ('wamid.READ', 'wamid.TYPE')", 'sent', 'a read call and a typing call are sent');
my $request = request_of('wamid.READ');
is_deeply($request->{body},
	{ messaging_product => 'whatsapp', status => 'read', message_id => 'wamid.READ' },
	'a read call has what Meta wants and nothing else');
is($request->{path}, '/v25.0/' . NUMBER . '/messages', 'it goes where messages go');
is_deeply(request_of('wamid.TYPE')->{body},
	{ messaging_product => 'whatsapp', status => 'read', message_id => 'wamid.TYPE', typing_indicator => { type => 'text' } },
	'and so has a typing call');

# with what has nothing to do with them
sql("INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, reply_to, callback_data, options) VALUES ('@{[NUMBER]}', '15550003001', 'mark_read', '{\"message_id\": \"wamid.MORE\"}', 'wamid.X', 'given', '{\"x\": 1}')");
state_is("content ->> 'message_id' = 'wamid.MORE'", 'sent');
is_deeply(request_of('wamid.MORE')->{body},
	{ messaging_product => 'whatsapp', status => 'read', message_id => 'wamid.MORE' },
	'they are to nobody, even if the row says so');
is(sql("SELECT count(*), count(message_id), bool_and(attempts = 1) FROM whatsapp.outbox WHERE type IN ('mark_read', 'typing')"),
	'3|0|t', 'they have no id');
is(sql('SELECT (SELECT count(*) FROM whatsapp.messages), (SELECT count(*) FROM whatsapp.correspondents), (SELECT count(*) FROM whatsapp.contact_sightings)'),
	'0|0|0', 'and are none of the messages, nor to people');

# Rows from dumps are not checked: still nothing of them is another call
sql(<<"SQL");
INSERT INTO whatsapp.outbox (phone_number_id, type, content, created_at) VALUES ('@{[NUMBER]}', 'mark_read',
	'{"message_id": "wamid.DUMP", "status": "typing", "messaging_product": "mail"}', now() - interval '1 day')
SQL
state_is("content ->> 'message_id' = 'wamid.DUMP'", 'sent');
is_deeply(request_of('wamid.DUMP')->{body},
	{ messaging_product => 'whatsapp', status => 'read', message_id => 'wamid.DUMP' },
	'content cannot change what a read call is');
foreach my $key (qw(status messaging_product to recipient type))
{
	foreach my $type (qw(mark_read typing))
	{
		like(
			error_of("INSERT INTO whatsapp.outbox (phone_number_id, type, content) VALUES ('@{[NUMBER]}', '$type', '{\"message_id\": \"wamid.X\", \"$key\": \"x\"}')"),
			qr/ERROR:  WA001: $type\.$key is not allowed/,
			"$key is refused in $type");
	}
}
like(
	error_of("INSERT INTO whatsapp.outbox (phone_number_id, type, content) VALUES ('@{[NUMBER]}', 'mark_read', '{\"message_id\": \"wamid.X\", \"typing_indicator\": {\"type\": \"text\"}}')"),
	qr/ERROR:  WA001: mark_read\.typing_indicator is not allowed\n.*HINT:  Set type to typing\./s,
	'a typing call that would not expire is refused');
like(error_of("SELECT whatsapp.mark_read('wamid. X', '@{[NUMBER]}')"),
	qr/ERROR:  WA001: mark_read\.message_id must be the id of a message/, 'and what is no id of a message');

#
# Nobody knows what came of them: they are repeated
#

my %ways = (
	CLOSE => { close => $true },
	RESET => { reset => $true },
	HALF => { half => $true },
	RAW => { raw => '<nothing>' },
	JSON => { raw => '{"success": false}' },
	OTHER => { raw => '{"hello": ["world"]}' },
	HTML => { html => $true });
my $n = 3100;
my %recipients = map { $_ => '1555000' . $n++ } sort keys %ways;
foreach my $way (sort keys %ways)
{
	script($_, %{ $ways{$way} }, times => 1) foreach "wamid.R$way", "wamid.T$way", $recipients{$way};
	sql("SELECT whatsapp.mark_read('wamid.R$way', '@{[NUMBER]}'), whatsapp.typing('wamid.T$way', '@{[NUMBER]}'), whatsapp.send_text('$recipients{$way}', '$way', from_number => '@{[NUMBER]}')");
}
foreach my $way (sort keys %ways)
{
	state_is("content ->> 'message_id' IN ('wamid.R$way', 'wamid.T$way')", 'sent', "$way: calls are sent in the end");
	is(join(' ', map { scalar(requests_of($_)) } "wamid.R$way", "wamid.T$way"), '2 2', "$way: they were repeated, once");
	state_is("body = '$way'", 'unknown', "$way: of a text it is unknown");
	is(scalar(requests_of($recipients{$way})), 1, "$way: and it is not repeated");
}

# An end to it
set_conf($node, 'whatsapp.max_attempts = 2');
script('wamid.NEVERENDING', close => $true);
sql("SELECT whatsapp.mark_read('wamid.NEVERENDING', '@{[NUMBER]}')");
state_is("content ->> 'message_id' = 'wamid.NEVERENDING'", 'failed', 'after so many attempts they have failed');
is(scalar(requests_of('wamid.NEVERENDING')), 2, 'and not before');
set_conf($node, 'whatsapp.max_attempts = 8');

# What was under way when the server ended, in each of its ways
my %ends = (
	sender => sub {
		kill('KILL', $sender);
		$sender = wait_for_sender($node, 'postgres', $sender);
	},
	postmaster => sub {
		$node->kill9;
		# it cannot start before all processes of the former are gone, and may take
		# that for one that runs
		wait_until(
			'it starts again',
			sub {
				$node->{_pid} = undef;
				return $node->start(fail_ok => 1);
			});
		$sender = wait_for_sender($node);
	},
	immediately => sub {
		$node->stop('immediate');
		$node->start;
		$sender = wait_for_sender($node);
	});
foreach my $end (sort keys %ends)
{
	my $recipient = '1555000' . $n++;

	script($_, never => $true, times => 1) foreach "wamid.R$end", $recipient;
	sql("SELECT whatsapp.mark_read('wamid.R$end', '@{[NUMBER]}'), whatsapp.send_text('$recipient', '$end', from_number => '@{[NUMBER]}')");
	ok( wait_until('both are under way', sub { scalar(requests_of("wamid.R$end")) + scalar(requests_of($recipient)) == 2 }),
		"$end: a read call and a text are under way");
	is(sql("SELECT string_agg(DISTINCT state, ',') FROM whatsapp.outbox WHERE body = '$end' OR content ->> 'message_id' = 'wamid.R$end'"),
		'sending', "$end: they are being sent");
	$ends{$end}->();
	state_is("content ->> 'message_id' = 'wamid.R$end'", 'sent', "$end: the read call is sent in the end");
	is(scalar(requests_of("wamid.R$end")), 2, "$end: it was repeated");
	state_is("body = '$end'", 'unknown', "$end: of the text it is unknown");
	is(scalar(requests_of($recipient)), 1, "$end: it was not repeated");
}

# the last attempt
set_conf($node, 'whatsapp.max_attempts = 1');
script('wamid.LAST', never => $true, times => 1);
sql("SELECT whatsapp.mark_read('wamid.LAST', '@{[NUMBER]}')");
ok(wait_until('it is under way', sub { scalar(requests_of('wamid.LAST')) == 1 }), 'the last attempt is under way');
$ends{immediately}->();
state_is("content ->> 'message_id' = 'wamid.LAST'", 'failed', 'if that is interrupted, the call has failed');
is(scalar(requests_of('wamid.LAST')), 1, 'and is not repeated any more');
set_conf($node, 'whatsapp.max_attempts = 8');
is(sql("SELECT count(*) FROM whatsapp.outbox WHERE type IN ('mark_read', 'typing') AND state = 'unknown'"), '0',
	'no call is left unknown');

#
# Nobody types for longer than 25 seconds
#

my $mine = "phone_number_id = '@{[NUMBER]}' AND content ->> 'message_id'";
pause();
sql(<<"SQL");
SELECT whatsapp.typing('wamid.LATE', '@{[NUMBER]}'), whatsapp.typing('wamid.EXPIRED', '@{[NUMBER]}'),
	whatsapp.typing('wamid.INTIME', '@{[NUMBER]}'), whatsapp.mark_read('wamid.OLD', '@{[NUMBER]}');
INSERT INTO whatsapp.outbox (phone_number_id, type, content) VALUES ('@{[NUMBER]}', 'typing', '{"message_id": "wamid.PLAIN"}');
INSERT INTO whatsapp.outbox (phone_number_id, type, content, send_after, created_at) VALUES
	('@{[NUMBER]}', 'typing', '{"message_id": "wamid.SCHEDULED"}', now() - interval '1 second', now() - interval '1 hour');
SQL
is(sql("SELECT expires_at - created_at FROM whatsapp.outbox WHERE $mine = 'wamid.LATE'"), '00:00:25', 'typing() says when it expires');
sql("UPDATE whatsapp.outbox SET created_at = created_at - interval '26 seconds', expires_at = NULL WHERE $mine IN ('wamid.LATE', 'wamid.PLAIN', 'wamid.OLD')");
sql("UPDATE whatsapp.outbox SET expires_at = expires_at - interval '26 seconds' WHERE $mine = 'wamid.EXPIRED'");
sql("UPDATE whatsapp.outbox SET created_at = now(), expires_at = now() + interval '1 hour' WHERE $mine = 'wamid.INTIME'");
resume();
state_is("$mine IN ('wamid.LATE', 'wamid.PLAIN', 'wamid.EXPIRED')", 'expired', 'what is too late has expired, however it was queued');
state_is("$mine IN ('wamid.OLD', 'wamid.INTIME', 'wamid.SCHEDULED')", 'sent', 'what is not is sent, and read calls however late');
is(scalar(map { requests_of($_) } qw(wamid.LATE wamid.PLAIN wamid.EXPIRED)), 0, 'nothing of what has expired was sent');

# nor is it repeated later than that
script('wamid.SLOW', error => { code => 131016, http_status => 503 }, retry_after => 3000);
sql("SELECT whatsapp.typing('wamid.SLOW', '@{[NUMBER]}'), whatsapp.mark_read('wamid.SLOW', '@{[NUMBER]}')");
state_is("waits_for = 'retry' AND $mine = 'wamid.SLOW'", 'queued', 'calls wait to be tried again');
ok( wait_until('both wait', sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE waits_for = 'retry' AND $mine = 'wamid.SLOW'") eq '2' }),
	'both of them');
is(scalar(requests_of('wamid.SLOW')), 2, 'each was tried once');
script('wamid.SLOW', times => 1);
sql("UPDATE whatsapp.outbox SET created_at = created_at - interval '26 seconds', expires_at = NULL, retry_at = now() WHERE $mine = 'wamid.SLOW'");
state_is("type = 'typing' AND $mine = 'wamid.SLOW'", 'expired', 'a typing call is not repeated when it is too late');
state_is("type = 'mark_read' AND $mine = 'wamid.SLOW'", 'sent', 'a read call is');
my @slow = requests_of('wamid.SLOW');
is(scalar(@slow), 3, 'one more request');
ok(!$slow[-1]{body}{typing_indicator}, 'and that is the read call');

#
# They are in nobody's order
#

script('15550003201', hold => $true, times => 1);
script('wamid.HANGS', hold => $true, times => 1);
sql("SELECT whatsapp.send_text('15550003201', 'hangs', from_number => '@{[NUMBER]}')");
ok(wait_until('it is under way', sub { scalar(requests_of('15550003201')) == 1 }), 'a text is under way');
sql(<<"SQL");
SELECT whatsapp.mark_read('wamid.HANGS', '@{[NUMBER]}'), whatsapp.send_text('15550003201', 'behind', from_number => '@{[NUMBER]}'),
	whatsapp.mark_read('wamid.BESIDE', '@{[NUMBER]}'), whatsapp.typing('wamid.BESIDE', '@{[NUMBER]}');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) VALUES ('@{[NUMBER]}', '15550003201', 'mark_read', '{"message_id": "wamid.NAMED"}');
SQL
state_is("$mine IN ('wamid.BESIDE', 'wamid.NAMED')", 'sent', 'it keeps no read or typing call back, nor do these each other');
ok(wait_until('it is under way', sub { scalar(requests_of('wamid.HANGS')) == 1 }), 'a read call is under way, too');
is(sql("SELECT state, waits_for FROM whatsapp.outbox WHERE body = 'behind'"), 'queued|turn', 'but another text waits for its turn');
graph_post($graph, '/_release', { recipient => '15550003201' });
state_is("recipient = '15550003201' AND type = 'text'", 'sent', 'then it is sent');
is(sql("SELECT state FROM whatsapp.outbox WHERE $mine = 'wamid.HANGS'"), 'sending', 'a read call that hangs keeps no text back');
script('wamid.HANGS3', hold => $true, times => 1);
sql("INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) VALUES ('@{[NUMBER]}', '15550003202', 'mark_read', '{\"message_id\": \"wamid.HANGS3\"}')");
ok(wait_until('it is under way', sub { scalar(requests_of('wamid.HANGS3')) == 1 }), 'a read call that names somebody is under way');
sql("SELECT whatsapp.send_text('15550003202', 'in front', from_number => '@{[NUMBER]}')");
state_is("body = 'in front'", 'sent', 'it keeps no text to them back');
graph_post($graph, '/_release');
state_is("$mine IN ('wamid.HANGS', 'wamid.HANGS3')", 'sent');

#
# Answers
#

sub inbound
{
	my ($number, @messages) = @_;
	my $body = $json->encode({
		object => 'whatsapp_business_account',
		entry => [ { id => '102290129340398', changes => [ {
			field => 'messages',
			value => {
				messaging_product => 'whatsapp',
				metadata => { display_phone_number => '15550100200', phone_number_id => $number },
				contacts => [ map { +{ profile => { name => 'Ada' }, ($_->{from} ? (wa_id => $_->{from}) : ()), ($_->{from_user_id} ? (user_id => $_->{from_user_id}) : ()) } } @messages ],
				messages => [ map { +{ timestamp => '1750101000', type => 'text', text => { body => 'Hello?' }, %$_ } } @messages ] } } ] } ] });

	utf8::decode($body);
	return sql('SELECT (whatsapp.ingest_unsigned(' . literal($body) . '::jsonb)).*');
}

my $group = 'R1JPVVAtRVhBTVBMRS0wMDE=';
inbound(NUMBER,
	{ id => 'wamid.PHONE', from => '15550003301', from_user_id => 'US.77120045539981' },
	{ id => 'wamid.USER', from_user_id => 'GB.66554433221100' },
	{ id => 'wamid.GROUP', from => '15550003302', group_id => $group },
	{ id => 'wamid.TWICE', from => '15550003303' });
inbound(OTHER_NUMBER, { id => 'wamid.TWICE', from => '15550003304' }, { id => 'wamid.THERE', from => '15550003305' });
is(sql("SELECT count(*) FROM whatsapp.messages WHERE direction = 'inbound'"), '6', 'messages have come');

my %answers = (
	'wamid.PHONE' => [ NUMBER, to => '+15550003301', recipient_type => 'individual' ],
	'wamid.USER' => [ NUMBER, recipient => 'GB.66554433221100', recipient_type => 'individual' ],
	'wamid.GROUP' => [ NUMBER, to => $group, recipient_type => 'group' ],
	'wamid.THERE' => [ OTHER_NUMBER, to => '+15550003305', recipient_type => 'individual' ]);
foreach my $id (sort keys %answers)
{
	my ($number, %whom) = @{ $answers{$id} };

	sql("SELECT whatsapp.reply('$id', 'to $id'), whatsapp.reply('$id', type => 'image', content => '{\"id\": \"7\"}', callback_data => '$id')");
	state_is("reply_to = '$id'", 'sent', "answers to $id are sent");
	my @sent = grep { ($_->{body}{context}{message_id} // '') eq $id } @{ graph_get($graph, '/_log') };
	is(join(' ', map { $_->{path} } @sent), join(' ', ("/v25.0/$number/messages") x 2), 'from the number that it came to');
	delete $_->{body}{biz_opaque_callback_data} foreach @sent;
	is_deeply([ map { $_->{body} } @sent ],
		[
			{ messaging_product => 'whatsapp', %whom, type => 'text', text => { body => "to $id" }, context => { message_id => $id } },
			{ messaging_product => 'whatsapp', %whom, type => 'image', image => { id => '7' }, context => { message_id => $id } } ],
		'to whom it came from, with the message');
}

foreach my $call ("reply('wamid.TWICE', 'x')", "send_reaction('wamid.TWICE', '')", "mark_read('wamid.TWICE')", "typing('wamid.TWICE')")
{
	my $error = error_of("SELECT whatsapp.$call");

	like($error, qr/ERROR:  P0003: message "wamid\.TWICE" is ambiguous, as 2 numbers have one of that id\n/, "$call: whose message it is must be told");
	like($error, qr/HINT:  Set from_number to the number that it came to\./, 'there is a hint');
}
sql("SELECT whatsapp.reply('wamid.TWICE', 'x', from_number => '@{[OTHER_NUMBER]}'), whatsapp.mark_read('wamid.TWICE', '@{[OTHER_NUMBER]}'), whatsapp.mark_read('wamid.THERE')");
state_is("phone_number_id = '@{[OTHER_NUMBER]}' AND state <> 'sent' OR reply_to = 'wamid.TWICE'", 'sent', 'with the number it is sent');
is(join(' ', map { "$_->{phone_number_id} $_->{body}{to}" } grep { ($_->{body}{context}{message_id} // '') eq 'wamid.TWICE' } @{ graph_get($graph, '/_log') }),
	OTHER_NUMBER . ' +15550003304', 'from that, to who wrote there');
state_is("content ->> 'message_id' IN ('wamid.TWICE', 'wamid.THERE')", 'sent');
is(join(' ', map { $_->{phone_number_id} } map { requests_of($_) } qw(wamid.TWICE wamid.THERE)), join(' ', (OTHER_NUMBER) x 2),
	'so are read calls, the number found by the message');
like(error_of("SELECT whatsapp.$_"), qr/ERROR:  P0002: message "wamid\.NOWHERE" is not there\n/, "$_: nothing is known of it")
  foreach "reply('wamid.NOWHERE', 'x')", "send_reaction('wamid.NOWHERE', '')", "mark_read('wamid.NOWHERE')", "typing('wamid.NOWHERE')";

#
# Marketing messages
#

sql(<<'SQL');
INSERT INTO whatsapp.templates (waba_id, template_id, name, language, category) VALUES
	('102290129340398', '1', 'sale', 'en', 'MARKETING'), ('102290129340398', '2', 'sale', 'de', 'UTILITY'),
	('102290129340398', '3', 'receipt', 'en', 'UTILITY'), ('102290129340398', '4', 'changes', 'en', 'UTILITY'),
	('102290129340398', '7', 'sale', 'fr', NULL), ('102290129340398', '5', 'changes_back', 'en', 'MARKETING'), ('900', '6', 'of_others', 'en', 'MARKETING');
SQL

# A template to a recipient of its own, and where it went
my %edges;
sub send_template
{
	my ($edge, $name, $language, $marketing) = @_;
	my $recipient = '1555000' . ++$n;

	sql(sprintf("SELECT whatsapp.send_template('%s', '%s', '%s', from_number => '%s', marketing => %s)",
			$recipient, $name, $language, NUMBER, $marketing // 'NULL'));
	$edges{$recipient} = [ $edge, "$name $language, marketing " . ($marketing // 'NULL') ];
	return;
}
sub check_edges
{
	my ($what) = @_;

	foreach my $recipient (sort keys %edges)
	{
		my ($edge, $which) = @{ $edges{$recipient} };

		state_is("recipient = '$recipient'", 'sent');
		is(request_of($recipient)->{path}, '/v25.0/' . NUMBER . "/$edge", "$what: $which goes to /$edge");
	}
	%edges = ();
	return;
}

send_template('messages', 'sale', 'en');
send_template('messages', 'sale', 'en', 'false');
send_template('marketing_messages', 'sale', 'en', 'true');
send_template('marketing_messages', 'receipt', 'en', 'true');
check_edges('the number has none of it');
sql("UPDATE whatsapp.numbers SET marketing_messages = true WHERE phone_number_id = '@{[NUMBER]}'");
send_template('marketing_messages', 'sale', 'en');
send_template('messages', 'sale', 'de');
send_template('messages', 'sale', 'fr');
send_template('messages', 'receipt', 'en');
send_template('messages', 'unheard_of', 'en');
send_template('messages', 'of_others', 'en');
send_template('messages', 'sale', 'en', 'false');
send_template('marketing_messages', 'receipt', 'en', 'true');
check_edges('the number sends marketing messages');

# what is so when it is claimed counts
pause();
send_template('marketing_messages', 'changes', 'en');
send_template('messages', 'changes_back', 'en');
send_template('messages', 'changes', 'en', 'false');
sql("UPDATE whatsapp.templates SET category = CASE name WHEN 'changes' THEN 'MARKETING' ELSE 'UTILITY' END WHERE name LIKE 'changes%'");
resume();
check_edges('the category has changed meanwhile');
pause();
send_template('messages', 'sale', 'en');
send_template('marketing_messages', 'sale', 'en', 'true');
sql("UPDATE whatsapp.numbers SET marketing_messages = false WHERE phone_number_id = '@{[NUMBER]}'");
resume();
check_edges('the number has changed meanwhile');
sql("UPDATE whatsapp.numbers SET marketing_messages = true");
sql("SELECT whatsapp.send_text('15550003401', 'sale', from_number => '@{[NUMBER]}')");
state_is("recipient = '15550003401'", 'sent');
is(request_of('15550003401')->{path}, '/v25.0/' . NUMBER . '/messages', 'only templates are marketing messages');
like(error_of("INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, marketing) VALUES ('@{[NUMBER]}', '15550003401', 'x', true)"),
	qr/ERROR:  WA001: message to be sent as marketing is no template/, 'others are refused');
sql("UPDATE whatsapp.numbers SET marketing_messages = false");

#
# What stands beside the content
#

my %options = (
	category => 'utility', ttl_seconds => 3600, direct_send_config => { template_name => 'parcel_today' },
	recipient_identity_key_hash => 'DF2lS5v2W6x=', message_activity_sharing => JSON::PP::false, something => { new => [ 1, '2', undef ] });
sql("SELECT whatsapp.send_text('15550003501', 'Parcel 7', from_number => '@{[NUMBER]}', options => " . literal($json->encode(\%options)) . '::jsonb)');
state_is("recipient = '15550003501'", 'sent');
$request = request_of('15550003501');
like(delete $request->{body}{biz_opaque_callback_data}, qr/^wa1\.\d+\.1\.[0-9a-f]{16}$/, 'Direct Send has a token');
is_deeply($request->{body},
	{ messaging_product => 'whatsapp', recipient_type => 'individual', to => '+15550003501', type => 'text', text => { body => 'Parcel 7' }, %options },
	'and options, beside the content');

# They change nothing of what is ours, neither checked nor from a dump
my %ours = (
	to => '+15559999999', recipient => 'US.999', recipient_type => 'group', type => 'image', messaging_product => 'mail',
	context => { message_id => 'wamid.X' }, biz_opaque_callback_data => 'wa1.1.1.0123456789abcdef', status => 'read');
foreach my $key (sort keys %ours)
{
	like(
		error_of("INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, options) VALUES ('@{[NUMBER]}', '15550003502', 'x', " . literal($json->encode({ $key => $ours{$key} })) . '::jsonb)'),
		qr/ERROR:  WA001: options\.$key is not allowed\n/, "options: $key is refused");
}
my %whole = (%ours, text => { body => 'another' }, image => { id => '8' }, message_id => 'wamid.X');
my %whom = ('15550003503' => { to => '+15550003503' }, 'US.77120045539981' => { recipient => 'US.77120045539981' });
foreach my $recipient (sort keys %whom)
{
	sql(sprintf("INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, options, created_at) VALUES ('%s', '%s', 'from a dump', %s::jsonb, now() - interval '1 day')",
			NUMBER, $recipient, literal($json->encode(\%whole))));
	state_is("recipient = '$recipient'", 'sent');
	$request = request_of($recipient);
	like(delete $request->{body}{biz_opaque_callback_data}, qr/^wa1\.(?!1\.1\.0123456789abcdef)/, 'it has a token of its own');
	is_deeply($request->{body},
		{
			messaging_product => 'whatsapp', recipient_type => 'individual', %{ $whom{$recipient} }, type => 'text',
			text => { body => 'from a dump' }, image => { id => '8' }, message_id => 'wamid.X' },
		"$recipient: options do not change what is ours");
}

#
# What is queued arrives byte for byte, or is refused
#

my $chars = JSON::PP->new->canonical->allow_nonref;

# What may be in any text
my %texts = (
	quotes => q{'"`; DROP TABLE whatsapp.outbox; -- $$ $1 %s},
	backslashes => 'C:\\new\\u0041\\" \\\\',
	paths => '../../v25.0/1/messages?access_token=x#y&z=%2e%00 //',
	lines => "a\r\nHost: evil\r\n\r\nPOST / HTTP/1.1\n\tb",
	controls => "\x01\x02\x07\b\x0b\f\x1b[31m\x1f\x7f",
	nuls => 'a\\u0000b \\0 %00 \\x00' . "\x{2400}",
	json => '"}, "to": "+15559999999", "text": {"body": "x',
	pictures => "\x{1F469}\x{200D}\x{1F4BB}\x{1F1E9}\x{1F1EA}\x{20000}\x{10FFFF}",
	marks => "\x{200F}\x{05D3}\x{202E}abc\x{202C}\x{2067}x\x{2069}\x{061C}",
	combining => "\x{0301}\x{0308}e\x{0301}\x{e9}\x{20DD}",
	separators => "\x{85}\x{2028}\x{2029}\x{FEFF}\x{FFFD}\x{FFFF}\x{FDD0}\x{A0}\x{AD}",
	edges => "   x \n\n",
	placeholders => '{{1}} $TOKEN $(id) %n ${x}');

# The same, as ids: these have no spaces, and no control characters of Unicode
my %ids = (%texts, map { $_ => $texts{$_} =~ s/[ \n\x{85}]//gr } grep { !/^(?:lines|edges)$/ } keys %texts);

# What they are called; what is queued; and where it is in the request, or what
# it is refused for
my @cases;

sub arrives
{
	my ($name, $row, %expected) = @_;

	push @cases, { name => $name, row => $row, expected => \%expected };
	return;
}

sub refused
{
	my ($name, $row, $complaint) = @_;

	push @cases, { name => $name, row => $row, complaint => $complaint };
	return;
}

sub id_case
{
	my ($name, $id, $row, $path, $complaint) = @_;

	return $id =~ /[\s\x00-\x1f\x7f]/a ? refused($name, $row, $complaint) : arrives($name, $row, $path => $id);
}

foreach my $kind (sort keys %texts)
{
	my ($text, $id) = ($texts{$kind}, $ids{$kind});
	my %template = (name => 't', language => { code => 'en' });
	my $parameters = [ { type => 'body', parameters => [ { type => 'text', text => $text } ] } ];

	arrives("$kind in body", { body => $text }, '/text/body' => $text);
	arrives("$kind in content", { content => { body => $text } }, '/text/body' => $text);
	arrives("$kind in a caption", { type => 'image', content => { id => '7', caption => $text } }, '/image/caption' => $text);
	arrives("$kind in a key", { type => 'something_new', content => { $text => [$text] } }, '/something_new' => { $text => [$text] });
	arrives("$kind in options", { body => 'x', options => { "x$text" => { $text => $text } } }, "x$text" => { $text => $text });
	arrives("$kind in callback_data", { body => 'x', callback_data => $text }, '/biz_opaque_callback_data' => $text);
	if ($text =~ /[\r\n\t]/)
	{
		refused("$kind in a parameter", { type => 'template', content => { %template, components => $parameters } },
			'template.components[0].parameters[0].text must have no newline, no tab, and no more than four spaces in a row');
	}
	else
	{
		arrives("$kind in a parameter", { type => 'template', content => { %template, components => $parameters } },
			'/template/components/0/parameters/0/text' => $text);
	}

	id_case("$kind in reply_to", $id, { body => 'x', reply_to => $id }, '/context/message_id', 'reply_to must be the id of a message (wamid)');
	id_case("$kind in $_->[0]", "$_->[0].$id", { type => $_->[0], content => { message_id => "$_->[0].$id" } },
		'/message_id', "$_->[0].message_id must be the id of a message (wamid)")
	  foreach ['mark_read'], ['typing'];
	id_case("$kind in reaction", $id, { type => 'reaction', content => { message_id => $id, emoji => "\x{1F44D}\x{1F3FD}" } },
		'/reaction/message_id', 'reaction.message_id must be the id of a message (wamid)');
	# (what is a space beyond ASCII is the locale's)
	id_case("$kind in a group", $id, { recipient => $id, recipient_type => 'group', body => 'x' }, '/to', 'message has an invalid recipient')
	  if $kind ne 'separators';

	foreach my $bad ($text, "15550004001$text", "US.abc$text")
	{
		refused("$kind in a recipient", { recipient => $bad, body => 'x' }, 'message has an invalid recipient');
	}
	refused("$kind in a type", { type => "text$id", content => { body => 'x' } }, 'message has an invalid type');
	refused("$kind in a template", { type => 'template', content => { %template, name => "t$text" } },
		'template.name must consist of lower case letters, digits and underscores');
	refused("$kind in a language", { type => 'template', content => { %template, language => { code => "en$text" } } },
		'template.language.code must be the code of a language, such as en_US');
	refused("$kind in a number", { phone_number_id => NUMBER . $text, body => 'x' }, 'message is to be sent from an unknown number');
}

arrives("recipient $_->[0]", { recipient => $_->[0], body => 'x' }, $_->[1] => $_->[2])
  foreach [ '../+1 (555) 000-4001/.', '/to', '+15550004001' ], [ "1555\x{A0}000\x{202F}4001", '/to', '+15550004001' ], [ "\x{202A}+1555\x{2011}000\x{2011}4001\x{202C}", '/to', '+15550004001' ],
  [ 'DE.7Kq3Zx19Ab', '/recipient', 'DE.7Kq3Zx19Ab' ], [ 'DE.ENT.55Tr', '/recipient', 'DE.ENT.55Tr' ];
refused("recipient $_", { recipient => $_, body => 'x' }, 'message has an invalid recipient')
  foreach "15550004001\n", "15550004001\r\nX: y", '15550004001?x=1', '15550004001/x', "1555000\x{200D}4001",
  "\x{FF11}\x{FF15}\x{FF15}\x{FF15}0004001", "\x{661}\x{665}\x{665}\x{665}0004001", "US.abc\n", 'us.abc', 'US.abc/..', 'US.abc.def';
refused("group $_", { recipient => $_, recipient_type => 'group', body => 'x' }, 'message has an invalid recipient')
  foreach "R1JP\n", "R1 JP", '+15550004001', "\tR1JP";
refused("type $_", { type => $_, content => { body => 'x' } }, 'message has an invalid type')
  foreach "text\n", 'Text', '', 'to', 'type', 'recipient', 'recipient_type', 'context', 'messaging_product', 'biz_opaque_callback_data', 'status';
arrives('4096 characters', { body => "\x{1F600}" x 4096 }, '/text/body' => "\x{1F600}" x 4096);
refused('4097 characters', { body => "\x{1F600}" x 4097 }, 'text.body must have at most 4096 characters');
refused('a NUL', { content => '{"body": "a\u0000b"}' }, 'unsupported Unicode escape sequence');
refused('half a character', { content => '{"body": "a\ud83d b"}' }, 'invalid input syntax for type json');

# A row for each, with a word to know it by
my @columns = qw(phone_number_id recipient recipient_type type body content reply_to callback_data options);

sub values_of
{
	my ($case, $word) = @_;
	my %row = (phone_number_id => NUMBER, recipient => '15550004000', recipient_type => 'individual', type => 'text', %{ $case->{row} });

	delete $row{recipient} if $row{type} =~ /^(?:mark_read|typing)$/;
	$row{callback_data} = $word . ($row{callback_data} // '');
	$row{$_} = $chars->encode($row{$_}) foreach grep { ref $row{$_} } qw(content options);
	return @row{@columns};
}

sub copied
{
	my ($value) = @_;
	my %escapes = ("\\" => '\\\\', "\t" => '\\t', "\n" => '\\n', "\r" => '\\r', "\b" => '\\b', "\f" => '\\f', "\x0b" => '\\v');

	return '\\N' if !defined $value;
	return $value =~ s/([\\\t\n\r\x08\f\x0b])/$escapes{$1}/gr;
}

my %ways_in = (
	parameters => sub {
		my @values = @_;
		my @told = map { literal($_) } @values;

		$told[$_] .= '::jsonb' foreach 5, 8;
		return 'EXECUTE queue (' . join(', ', @told) . ");\n";
	},
	copy => sub {
		my @values = @_;

		return 'COPY whatsapp.outbox (' . join(', ', @columns) . ") FROM stdin;\n" . join("\t", map { copied($_) } @values) . "\n\\.\n";
	});

foreach my $way (sort keys %ways_in)
{
	my $sql = 'PREPARE queue (text, text, text, text, text, jsonb, text, text, jsonb) AS INSERT INTO whatsapp.outbox ('
	  . join(', ', @columns) . ") VALUES (\$1, \$2, \$3, \$4, \$5, \$6, \$7, \$8, \$9);\n";
	my $last = sql('SELECT coalesce(max(id), 0) FROM whatsapp.outbox');
	my $errors;

	graph_post($graph, '/_reset');
	foreach my $i (0 .. $#cases)
	{
		$sql .= "\\warn case $i\n" . $ways_in{$way}->(values_of($cases[$i], "case$i:"));
	}
	utf8::encode($sql);
	$node->psql('postgres', $sql, on_error_stop => 0, stderr => \$errors);
	utf8::decode($errors);
	my (undef, %said) = split(/^case (\d+)\n?/m, $errors);
	my @arriving = grep { $cases[$_]{expected} } 0 .. $#cases;
	my @refused = grep { $cases[$_]{complaint} } 0 .. $#cases;

	is_deeply([ map { "$cases[$_]{name}: " . (($said{$_} // '') =~ /ERROR:  (.*)/ ? $1 : 'nothing') } @refused ],
		[ map { "$cases[$_]{name}: $cases[$_]{complaint}" } @refused ], "$way: what is refused is refused as it should be");
	is_deeply([ map { "$cases[$_]{name}: $said{$_}" } grep { ($said{$_} // '') ne '' } @arriving ], [], "$way: and nothing else is");
	is(sql("SELECT count(*) FROM whatsapp.outbox WHERE id > $last"), scalar(@arriving), "$way: of what is refused there is no row");
	state_is("id > $last", 'sent', "$way: all others are sent");

	my @requests = @{ graph_get($graph, '/_log') };
	my (%by_word, %by_message);

	is(scalar(@requests), scalar(@arriving), "$way: each in one request");
	is_deeply([ grep { $_->{path} ne '/v25.0/' . NUMBER . '/messages' || $_->{query} || !$_->{authorized} || !ref $_->{body} } @requests ],
		[], "$way: to where messages go");
	foreach my $body (map { $_->{body} } @requests)
	{
		if (defined $body->{status})
		{
			$by_message{ $body->{message_id} } = $body;
		}
		elsif ($body->{biz_opaque_callback_data} =~ s/^wa1\.\d+\.1\.[0-9a-f]{16}\.case(\d+)://)
		{
			$by_word{$1} = $body;
		}
	}

	my @others;
	foreach my $i (@arriving)
	{
		my ($path, $expected) = %{ $cases[$i]{expected} };
		my $found = $by_word{$i} // $by_message{$expected};

		foreach my $key ($path =~ m{^/} ? split(m{/}, substr($path, 1)) : $path)
		{
			$found = ref $found eq 'ARRAY' ? $found->[$key] : ref $found ? $found->{$key} : undef;
		}
		push @others, "$cases[$i]{name}: " . JSON::PP->new->ascii->allow_nonref->encode($found)
		  if $chars->encode($found) ne $chars->encode($expected);
	}
	is_deeply(\@others, [], "$way: byte for byte");
	cmp_ok(scalar(@arriving), '>=', 140, "$way: so many of them");
	cmp_ok(scalar(@refused), '>=', 130, "$way: and so many refused");
}

# What is no text cannot come in at all
like(error_of("INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('@{[NUMBER]}', '15550004001', convert_from('\\x$_', 'UTF8'))"),
	qr/ERROR:  22021: invalid byte sequence for encoding "UTF8"/, "no text: $_")
  foreach '6100', 'ff', 'eda080', 'c080', 'f09f98';

# nor can a number be added whose id were more than a part of a URL
foreach my $kind (sort keys %ids)
{
	foreach my $id ($ids{$kind}, "1065$ids{$kind}")
	{
		like(error_of('SELECT whatsapp.add_number(' . literal($id) . ')'), qr/ERROR:  22023: invalid phone number id/, "$kind in the id of a number");
		like(error_of('INSERT INTO whatsapp.numbers (phone_number_id) VALUES (' . literal($id) . ')'), qr/ERROR:  23514: /, 'nor by hand');
	}
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, 'nothing has crashed but what was killed');
$node->stop;
done_testing();
