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

# The document as Meta would write it: ASCII, with / escaped.  The corpus comes
# with a program that does that; its output is hexadecimal here, a line for each
# file.
my $json = JSON::PP->new->ascii->allow_bignum->canonical;
my %wire;
my $wire = "$corpus/../wire.py";

if (-e $wire && system('python3 -c 0 >/dev/null 2>&1') == 0)
{
	my $program = <<'PYTHON';
import contextlib, io, runpy, sys
wire = sys.argv[1]
for name in sys.argv[2:]:
    sys.argv = [wire, name]
    out = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out):
        runpy.run_path(wire)
    print(out.buffer.getvalue().hex())
PYTHON
	my @from_corpus = grep { /^\Q$corpus\E/ } @files;
	open(my $python, '-|', 'python3', '-c', $program, $wire, @from_corpus) or die "python3: $!";
	@wire{@from_corpus} = map { chomp; pack('H*', $_) } <$python>;
	close($python) or die 'wire.py failed';
	note(scalar(keys %wire) . ' bodies made with wire.py');
}

sub wire_bytes
{
	my ($file, $document) = @_;
	my $bytes = $wire{$file} // $json->encode($document);

	$bytes =~ s{(?<!\\)/}{\\/}g;
	return $bytes;
}

sub list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? @$value : ref $value ? ($value) : ();
}

# What a person reads of a message
sub words
{
	my ($message) = @_;
	my $edited = $message->{edit}{message};

	return words($edited) if $edited;
	my $interactive = $message->{interactive} // {};
	my @places = (
		ref $message->{text} ? $message->{text}{body} : $message->{text},
		(map { ref $message->{$_} eq 'HASH' ? $message->{$_}{caption} : undef } qw(image video audio document sticker)),
		$message->{document}{filename},
		$message->{button}{text},
		$interactive->{button_reply}{title},
		$interactive->{list_reply}{title},
		$interactive->{nfm_reply}{body},
		$interactive->{body}{text},
		$message->{reaction}{emoji},
		$message->{location}{name},
		$message->{location}{address},
		(map { $_->{name}{formatted_name} } grep { ref } list($message->{contacts})),
		$message->{order}{text},
		$message->{system}{body});
	return (grep { defined && $_ ne '' } @places)[0] // '';
}

# What must be there: "table phone_number_id id ..." of each element
my %expected;

sub expect_elements
{
	my ($document) = @_;

	# those of other products are none of ours
	return if ($document->{object} // 'whatsapp') !~ /^whatsapp/;

	# what is but a part of a webhook
	$document = { changes => $document } if $document->{value};
	$document = { changes => { value => $document } }
	  if $document->{messages} || $document->{statuses};
	$document = { entry => $document } if !$document->{entry};

	foreach my $change (map { list($_->{changes}) } list($document->{entry}))
	{
		my $value = $change->{value} // {};
		my $standby = $value->{standby} // {};
		my $number = $value->{metadata}{phone_number_id} // '';
		my @messages = (
			list($value->{messages}),
			list($value->{message_echoes}),
			list($standby->{messages}),
			map { list($_->{messages}) } map { list($_->{threads}) } list($value->{history}));

		foreach my $message (grep { $_->{id} } @messages)
		{
			$expected{"message $number $message->{id} " . words($message)} = 1
			  if ($message->{type} // '') ne 'media_placeholder';
			my $reactor = $message->{from_user_id} || $message->{from};
			$expected{"reaction $number $message->{reaction}{message_id} $reactor"} = 1
			  if $message->{reaction} && $message->{reaction}{message_id};
		}
		foreach my $echo (grep { $_->{id} } list($standby->{message_echoes}))
		{
			$expected{"message $number $echo->{id} " . words($echo->{message} // $echo)} = 1;
		}
		foreach my $status (grep { $_->{id} && $_->{status} } list($value->{statuses}), list($standby->{statuses}))
		{
			my $participant = $status->{recipient_participant_user_id} || $status->{recipient_participant_id}
			  || $status->{participant_recipient_id} || '';

			# statuses of calls are none of messages
			next if ($status->{type} // '') eq 'call';
			$participant = "$status->{payment}{transaction}{id} $status->{payment}{transaction}{status}"
			  if $status->{payment} && $status->{payment}{transaction};
			$expected{"status $number $status->{id} $status->{status} $participant"} = 1;
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
			$bytes = wire_bytes($file, $document);
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
		"SELECT DISTINCT 'message ' || phone_number_id || ' ' || message_id || ' ' || replace(coalesce(body, ''), E'\\n', '|') FROM whatsapp.messages
		 UNION ALL SELECT 'reaction ' || phone_number_id || ' ' || message_id || ' ' || reactor FROM whatsapp.reactions
		 UNION ALL SELECT 'status ' || phone_number_id || ' ' || message_id || ' ' || status || ' ' || participant FROM whatsapp.statuses"
	)));

# or, if others have its id, among those that had to yield
foreach my $row (
	split(
		/\n/,
		decode_utf8($node->safe_psql(
			'postgres',
			"SELECT phone_number_id, element FROM whatsapp.events WHERE field = 'messages' AND event = 'superseded'"))))
{
	my ($number, $element) = split(/\|/, $row, 2);
	my $message = $json->decode($element);
	my $words = words($message->{message} // $message) =~ s/\n/|/gr;

	$found{"message $number $message->{id} $words"} = 1;
}
cmp_ok(scalar(keys %expected), '>', 10, 'there is something to find');
note(scalar(keys %expected) . ' elements');
is_deeply([ grep { !$found{$_} } map { s/\n/|/gr } sort keys %expected ],
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
