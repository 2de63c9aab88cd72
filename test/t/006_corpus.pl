# Webhooks as others have published them: of each message, status and reaction
# there is a row, and when they come again there is nothing new.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use Digest::SHA qw(hmac_sha256_hex);
use File::Find;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $corpus = ($ENV{WHATSAPP_SHARED} // '') . '/corpus/webhooks';
my @files;

if (-d $corpus)
{
	find(sub { push @files, $File::Find::name if /\.json$/ }, $corpus);
}
else
{
	diag('THE CORPUS IS NOT HERE: only the webhooks of our own are tried');
}
push @files, glob('test/webhooks/*.json');
note(scalar(@files) . ' webhooks');

# A cluster that sends nothing
my $node = PostgreSQL::Test::Cluster->new('corpus');
$node->init;
$node->start;
add_number($node);

# The document as Meta would write it: ASCII, with / escaped
my $json = JSON::PP->new->ascii->allow_bignum->canonical;

sub wire_bytes
{
	my ($document) = @_;
	my $bytes = $json->encode($document);

	$bytes =~ s{/}{\\/}g;
	return $bytes;
}

sub list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? @$value : ref $value ? ($value) : ();
}

# What must be there: "table phone_number_id id ..." of each element
my %expected;

sub expect_elements
{
	my ($document) = @_;

	# those of other products are none of ours
	return if ($document->{object} // '') ne 'whatsapp_business_account';

	foreach my $change (map { list($_->{changes}) } list($document->{entry}))
	{
		my $value = $change->{value} // {};
		my $number = $value->{metadata}{phone_number_id} or next;

		foreach my $message (grep { $_->{id} } list($value->{messages}))
		{
			$expected{"message $number $message->{id}"} = 1;
			my $reactor = $message->{from_user_id} // $message->{from};
			$expected{"reaction $number $message->{reaction}{message_id} $reactor"} = 1
			  if $message->{reaction} && $message->{reaction}{message_id};
		}
		foreach my $status (grep { $_->{id} && $_->{status} } list($value->{statuses}))
		{
			# statuses of calls are none of messages
			$expected{"status $number $status->{id} $status->{status}"} = 1
			  if ($status->{type} // '') ne 'call';
		}
	}
	return;
}

sub ingest_all
{
	my $sql = '';

	foreach my $file (sort @files)
	{
		my $bytes = slurp_file($file);
		my $document = eval { $json->decode(decode_utf8($bytes)) };

		if ($document)
		{
			expect_elements($document);
			$bytes = wire_bytes($document);
		}
		$sql .= sprintf(
			"SELECT '%s', status FROM whatsapp.handle_webhook('POST', NULL, 'sha256=%s', '\\x%s');\n",
			$file =~ s/'/''/gr,
			hmac_sha256_hex($bytes, SECRET),
			unpack('H*', $bytes));
	}
	return $node->safe_psql('postgres', $sql);
}

sub decode_utf8
{
	my ($bytes) = @_;

	utf8::decode($bytes);
	return $bytes;
}

sub rows
{
	return $node->safe_psql('postgres',
		join(' UNION ALL ',
			map { "SELECT '$_', count(*) FROM whatsapp.$_" }
			  qw(contacts messages reactions statuses events webhooks))
		  . ' ORDER BY 1');
}

my @answers = split(/\n/, ingest_all());
is(scalar(@answers), scalar(@files), 'each webhook was answered');
is_deeply([ grep { !/\|200$/ } @answers ], [], 'with 200');

my %found = map { $_ => 1 } split(
	/\n/,
	decode_utf8($node->safe_psql(
		'postgres',
		"SELECT 'message ' || phone_number_id || ' ' || message_id FROM whatsapp.messages
		 UNION ALL SELECT 'reaction ' || phone_number_id || ' ' || message_id || ' ' || reactor FROM whatsapp.reactions
		 UNION ALL SELECT DISTINCT 'status ' || phone_number_id || ' ' || message_id || ' ' || status FROM whatsapp.statuses"
	)));
cmp_ok(scalar(keys %expected), '>', 10, 'there is something to find');
note(scalar(keys %expected) . ' elements');
is_deeply([ grep { !$found{$_} } sort keys %expected ],
	[], 'each message, reaction and status is there');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM whatsapp.webhooks WHERE reason IS NOT NULL AND reason !~ \'U\\+FFFD\''),
	'0',
	'nothing was unreadable or refused');

my $rows = rows();
note($rows);
ingest_all();
is(rows(), $rows, 'the same webhooks again change nothing');

$node->stop;
done_testing();
