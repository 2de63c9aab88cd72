# Requests as Meta and others have published them: put into the outbox, each
# comes out as it was, or is refused for a reason that is known here.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $corpus = ($ENV{WHATSAPP_SHARED} // '') . '/corpus/requests';

if (!-d $corpus)
{
	diag('THE CORPUS IS NOT HERE: no published request is tried');
	plan skip_all => 'there is no corpus of requests';
}

# What they write instead of a phone number; what else is not one must be
# refused
my %numbers = (
	'{{Recipient-Phone-Number}}' => '16505551234',
	'{{Recipient-WA-Phone-Number}}' => '16505551234',
	'{{wa-user-phone-number}}' => '16505551234',
	'PHONE_NUMBER' => '16505551234',
	'YOUR_NUMBER' => '16505551234',
	'whatsapp-id' => '16505551234',
	'106540352242922 or 16505551234' => '16505551234',
	'123' => '12345678901',
	'91xxxxxxxxxx' => '919876543210',
	'+91xxxxxxxxxx' => '+919876543210');

# Other placeholders, where nothing would be left to compare without a value
my @values = (
	[ qr{^<?http\(s\)://([a-z-]+)-url>?$} => sub { "https://example.com/$_[0]" } ],
	[ qr{^(?:<TEMPLATE_NAME>|TEMPLATE_NAME|template-name|\{templateName\})$} => sub { 'template_name' } ],
	[ qr{^(?:LANGUAGE_AND_LOCALE_CODE|language-and-locale-code)$} => sub { 'en_US' } ],
	[ qr{^<HEADER_TYPE>$} => sub { 'text' } ],
	[ qr{^unique-reference-id-from-order-details-msg$} => sub { 'ORD-7' } ],
);

# What is refused, and why: as the rule is Meta's own, or as it is no message
my %refused = (
	'facebook-openapi__Accept-Call__type_text' =>
	  [ 'text message has no body', 'a call is no message' ],
	'facebook-openapi__Connect-Call__type_text-biz_opaque' =>
	  [ 'text message has no body', 'a call is no message' ],
	'facebook-openapi__Reject-Call__type_text' =>
	  [ 'text message has no body', 'a call is no message' ],
	'froggy-meta-cloud-api__unit.test__type_text' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__business-initiated-calls__type_text-biz_opaque' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__business-initiated-calls__type_text' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__business-scoped-user-ids__type_text-2' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__reference__type_text-2' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__reference__type_text-3' =>
	  [ 'text message has no body', 'a call is no message' ],
	'meta-docs-2025-12__reference__type_text' =>
	  [ 'text message has no body', 'a call is no message' ],
	'pywa__test_api__type_text-biz_opaque' =>
	  [ 'text message has no body', 'a call is no message' ],
	'facebook-openapi__Send-Reply-to-List-Message__type_text-reply' =>
	  [ 'text message has no body', 'Meta forgot the type, without which it is a text' ],
	'meta-docs-2025-12__contextual-replies__type_text-reply' =>
	  [ 'text message has no body', 'Meta left out what is to be said' ],
	'meta-docs-2025-12__send-messages__type_text' =>
	  [ 'text.body is required', 'Meta left out what is to be said' ],
	'meta-docs-2025-12__send-marketing-messages__type_text' =>
	  [ 'text.body is required', 'Meta left out what is to be said' ],
	'django-meta-whatsapp__utils__type_template' =>
	  [ 'template.name must consist of lower case letters, digits and underscores', 'no template can have such a name' ],
	'meta-docs-2025-12__business-scoped-user-ids__type_template' =>
	  [ 'template.name is required', 'Meta left out the template' ],
	'pywa__test_api__type_template-reply-biz_opaque-identity_' =>
	  [ 'template.language is required', 'a template without a language is none' ],
	'facebook-openapi__Send-Sample-Issue-Resolution-Template__type_template' =>
	  [ 'template.components[1].parameters[0].text must be a string', 'YAML made true of Yes' ],
	'meta-docs-2025-12__checkout-button-templates__type_template' =>
	  [ 'template.components[1].parameters[0].type is required', 'Meta left out parameters' ],
	'meta-docs-2025-12__reference__type_template' =>
	  [ 'template.components[0].parameters[1].type is required', 'Meta left out a parameter' ],
	'meta-docs-2025-12__limited-time-offer-templates__type_template' =>
	  [ 'template.components[1].parameters[0] must be an object', 'Meta wrote parameters as a string' ],
	'meta-docs-2025-12__mpm-templates__type_template' =>
	  [ 'template.components[0].parameters[0].text must have at most 60 characters', 'Meta took the template for its parameter; a header has 60 characters' ],
	'meta-docs-2025-12__media-card-carousel-templates__type_template' =>
	  [ 'template.components[1].cards must have from 2 to 10 elements', 'Meta left out cards' ],
	'meta-docs-2025-12__product-card-carousel-templates__type_template' =>
	  [ 'template.components[1].cards must have from 2 to 10 elements', 'Meta left out cards' ],
	'meta-docs-2025-12__interactive-product-carousel-messages__type_interactive_carousel' =>
	  [ 'interactive.action.cards must have from 2 to 10 elements', 'Meta left out cards' ],
	'meta-docs-2025-12__audio-messages__type_audio' =>
	  [ 'audio must have exactly one of id, link', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__document-messages__type_document' =>
	  [ 'document must have exactly one of id, link', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__image-messages__type_image' =>
	  [ 'image must have exactly one of id, link', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__sticker-messages__type_sticker' =>
	  [ 'sticker must have exactly one of id, link', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__video-messages__type_video' =>
	  [ 'video must have exactly one of id, link', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__sendingaflow__type_interactive_flow-2' =>
	  [ 'interactive.action.parameters must have exactly one of flow_id, flow_name', 'Meta shows both, of which one may be there' ],
	'meta-docs-2025-12__interactive-cta-url-messages__type_interactive_cta_url' =>
	  [ 'interactive.body is required', 'Meta closed a bracket too early' ],
	'meta-docs-2025-12__interactive-cta-url-messages__type_interactive_cta_url-2' =>
	  [ 'interactive.body is required', 'Meta closed a bracket too early' ],
	'meta-docs-2025-12__interactive-cta-url-messages__type_interactive_cta_url-3' =>
	  [ 'interactive.body is required', 'Meta closed a bracket too early' ],
	'meta-docs-2025-12__interactive-reply-buttons-messages__type_interactive_button' =>
	  [ 'interactive.header.type is required', 'Meta left out the header' ],
	'meta-docs-2025-12__payment-links__type_interactive_None' =>
	  [ 'interactive.type is required', 'Meta left out everything' ],
	'meta-docs-2025-12__address-messages__type_interactive_address_message-2' =>
	  [ 'interactive.action.parameters must be an object', 'Meta left out the parameters' ],
	'meta-docs-2025-12__onboarding__type_-MESSAGE_TYPE' =>
	  [ 'message has an invalid type', 'the type is a placeholder' ],
	'froggy-meta-cloud-api__unit.test__type_text-typing' =>
	  [ 'typing.status is not allowed', 'the status is read, even if somebody types' ],
);

my $json = JSON::PP->new->utf8->canonical->allow_nonref->allow_bignum;

sub pretty
{
	my ($value) = @_;

	return $json->pretty->encode($value);
}

# A document with values for placeholders
sub filled
{
	my ($value) = @_;

	return { map { $_ => filled($value->{$_}) } keys %$value } if ref $value eq 'HASH';
	return [ map { filled($_) } @$value ] if ref $value eq 'ARRAY';
	return $value if ref $value || !defined $value;
	foreach my $pair (@values)
	{
		my ($pattern, $make) = @$pair;

		return $make->($1) if $value =~ $pattern;
	}
	return $value;
}

# A request as somebody would queue it
sub row_of
{
	my ($request) = @_;
	my %rest = %$request;
	my %row;

	delete $rest{messaging_product};
	if (defined $rest{status})
	{
		$row{type} = $rest{typing_indicator} ? 'typing' : 'mark_read';
		delete $rest{status} if $rest{status} eq 'read';
		return { %row, content => \%rest };
	}
	$row{type} = delete $rest{type} // 'text';
	$row{recipient} = delete $rest{to};
	$row{recipient} //= delete $rest{recipient};
	$row{recipient_type} = delete $rest{recipient_type} // 'individual';
	$row{content} = delete $rest{ $row{type} };
	$row{callback_data} = delete $rest{biz_opaque_callback_data};
	$row{reply_to} = $rest{context}{message_id} if $rest{context};
	delete $rest{context};
	$row{options} = \%rest if %rest;
	return \%row;
}

# What is to be sent for it
sub expected
{
	my ($request) = @_;
	my %expected = %$request;

	return \%expected if defined $expected{status};
	$expected{recipient_type} //= 'individual';
	$expected{type} //= 'text';
	$expected{to} = '+' . $expected{to} =~ s/\D//gr
	  if defined $expected{to} && $expected{recipient_type} ne 'group';
	return \%expected;
}

# A cluster that sends nothing
my $node = PostgreSQL::Test::Cluster->new('requests');
$node->init;
$node->start;
add_number($node);
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION pg_temp_queue(told jsonb, OUT request jsonb, OUT complaint text) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO whatsapp.outbox AS o (recipient, recipient_type, type, content, reply_to, callback_data, options)
	VALUES (told ->> 'recipient', coalesce(told ->> 'recipient_type', 'individual'), told ->> 'type', nullif(told -> 'content', 'null'),
		told ->> 'reply_to', told ->> 'callback_data', nullif(told -> 'options', 'null'))
	RETURNING whatsapp.request_body(o) INTO request;
EXCEPTION WHEN SQLSTATE 'WA001' THEN
	complaint := SQLERRM;
END $$;
SQL

my @files = sort glob("$corpus/*.json");
my %requests;
my $sql = '';

foreach my $file (@files)
{
	my ($name) = $file =~ m{([^/]+)\.json$};
	my $request = $json->decode(slurp_file($file));

	$request->{to} = $numbers{ $request->{to} }
	  if defined $request->{to} && $numbers{ $request->{to} };
	$request = filled($request);
	$requests{$name} = $request;
	$sql .= sprintf(
		"SELECT '%s', coalesce(complaint, ''), encode(convert_to(coalesce(request::text, ''), 'UTF8'), 'hex') FROM pg_temp_queue(convert_from('\\x%s', 'UTF8')::jsonb);\n",
		$name, unpack('H*', $json->encode(row_of($request))));
}

my ($nequal, $nrefused) = (0, 0);

foreach my $line (split(/\n/, $node->safe_psql('postgres', $sql)))
{
	my ($name, $complaint, $body) = split(/\|/, $line, 3);
	my $request = delete $requests{$name};

	if ($complaint ne '' || $refused{$name})
	{
		my ($why, $reason) = @{ $refused{$name} // [ 'nothing to complain of', 'unlisted' ] };

		$nrefused += is($complaint, $why, "$name is refused: $reason");
		diag(pretty($request)) if $complaint ne $why;
		next;
	}
	$nequal += is(pretty($json->decode(pack('H*', $body))), pretty(expected($request)), $name);
}

is_deeply([ sort keys %requests ], [], 'each was tried');
is($nequal, scalar(@files) - scalar(keys %refused), 'all but those that are listed are equal');
is($nrefused, scalar(keys %refused), 'and each that is listed is there');
cmp_ok($nequal, '>=', 131, 'so many are equal');

$node->stop;
done_testing();
