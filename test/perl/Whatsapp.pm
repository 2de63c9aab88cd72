# What the TAP tests have in common: a cluster with the extension, the Graph
# API simulator to send to, and the HTTP front.

package Whatsapp;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use Exporter 'import';
use HTTP::Tiny;
use File::Temp;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  NUMBER TOKEN SECRET VERIFY_TOKEN
  new_cluster configure add_number start_graph start_front start_nginx run_nginx start_program
  stop_program
  make_certificate free_port set_conf
  graph_post graph_get graph_url graph_requests wait_for_in_flight
  fixture sign wait_until wait_for_state wait_for_sender sender_pid
  wait_for_standby
  catalog differences
);

use constant NUMBER => '106540352242922';
use constant TOKEN => 'EAAJtokentoken';
use constant SECRET => '0123456789abcdef0123456789abcdef';
use constant VERIFY_TOKEN => 'verify-me';

# How long to wait for anything at all, in seconds
use constant PATIENCE => 60;

my $http = HTTP::Tiny->new(timeout => PATIENCE);
my @programs;

# Start a cluster that sends to a simulator, if one is given, or to nginx in
# front of it.
sub new_cluster
{
	my ($name, $graph, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	configure($node, $graph, @conf);
	$node->start;
	return $node;
}

# Have a cluster that is yet to start preload the extension, and send there.
sub configure
{
	my ($node, $graph, @conf) = @_;
	my $url = $graph ? graph_url($graph, '') : 'http://127.0.0.1:1';

	$node->append_conf('postgresql.conf', $_)
	  foreach "shared_preload_libraries = 'whatsapp'",
	  "whatsapp.graph_url = '$url'",
	  "log_line_prefix = '%m [%p] %b '",
	  @conf;
	return;
}

# Create the extension, and add a number to send from.
sub add_number
{
	my ($node, $database) = @_;

	# as fast as it can, unless a test is about that
	$node->safe_psql($database // 'postgres', sprintf(
			"CREATE EXTENSION whatsapp; SELECT whatsapp.add_number('%s', waba_id => '102290129340398', access_token => '%s', app_secret => '%s', verify_token => '%s'); UPDATE whatsapp.numbers SET messages_per_second = 1000000",
			NUMBER, TOKEN, SECRET, VERIFY_TOKEN));
	return;
}

# Change settings in the file, and have them known.
sub set_conf
{
	my ($node, @conf) = @_;

	$node->append_conf('postgresql.conf', $_) foreach @conf;
	$node->reload;
	foreach my $conf (@conf)
	{
		my ($name, $value) = $conf =~ /^(\S+) = '?(.*?)'?$/;

		wait_until("$name is known",
			sub { $node->safe_psql('postgres', "SHOW $name") eq $value });
	}
	return;
}

# Test that commits come to wait for a standby.  It is the checkpointer that has
# them wait, once it knows.
sub wait_for_standby
{
	my ($node, $what, @conf) = @_;

	set_conf($node, "synchronous_standby_names = '*'", @conf);
	$node->safe_psql('postgres', 'CHECKPOINT');
	return ok(
		wait_until(
			'the standby is synchronous',
			sub {
				$node->safe_psql('postgres', 'SELECT sync_state FROM pg_stat_replication') eq 'sync';
			}),
		$what);
}

sub free_port
{
	return PostgreSQL::Test::Cluster::get_free_port();
}

# Make a key, and a certificate for a name, which then is trusted as it is.
sub make_certificate
{
	my ($name) = @_;
	my $dir = File::Temp->newdir;
	my $kind = $name =~ /^[0-9.]+$/ ? 'IP' : 'DNS';
	my $output;

	IPC::Run::run(
		[
			qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2),
			'-subj', "/CN=$name", '-addext', "subjectAltName=$kind:$name",
			'-keyout', "$dir/key", '-out', "$dir/cert"
		],
		'>&', \$output) or BAIL_OUT("openssl: $output");
	return { dir => $dir, key => "$dir/key", cert => "$dir/cert" };
}

# Start the Graph API simulator.  A front's URL has it post status webhooks; a
# certificate, speak TLS.
sub start_graph
{
	my (%options) = @_;
	my @command = ('node', 'test/graph.js', '--token', TOKEN);

	push @command, '--secret', SECRET, '--webhook', $options{webhook}
	  if $options{webhook};
	push @command, '--port', $options{port} if $options{port};
	push @command, '--key', $options{tls}{key}, '--cert', $options{tls}{cert}
	  if $options{tls};
	my $graph = start_program({}, @command);

	if ($options{tls})
	{
		slurp_file($graph->{log}) =~ /^control on (\d+)$/m;
		$graph->{control} = $1;
		$graph->{scheme} = 'https';
	}
	return $graph;
}

# Start nginx with TLS and HTTP/2 in front of a simulator.  It logs which
# version of HTTP each request came with, and on which connection.
sub start_nginx
{
	my ($graph, $certificate, @more) = @_;
	my $port = free_port();
	my $program = run_nginx($port, <<"CONF");
log_format short '\$server_protocol \$connection \$status';
access_log access short;
upstream graph { server 127.0.0.1:$graph->{port}; keepalive 64; }
server {
	listen 127.0.0.1:$port ssl http2;
	ssl_certificate $certificate->{cert};
	ssl_certificate_key $certificate->{key};
	@more
	location / {
		proxy_pass http://graph;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		proxy_read_timeout 300s;
	}
}
CONF

	$program->{scheme} = 'https';
	$program->{log} = "$program->{dir}/access";
	return $program;
}

# Start nginx with such servers, of which one listens on a port.
sub run_nginx
{
	my ($port, $conf, @modules) = @_;
	my $dir = File::Temp->newdir;
	my $nginx = (grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin')[0];
	my $load = join("\n", map { "load_module $_;" } @modules);
	my $temporary = join("\n",
		map { "${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi));

	append_to_file("$dir/conf", <<"CONF");
$load
daemon off;
pid $dir/pid;
error_log $dir/error;
worker_processes 1;
events { worker_connections 8192; }
http {
$temporary
$conf
}
CONF
	my $program = { port => $port, dir => $dir };
	$program->{run} = IPC::Run::start(
		[ $nginx, '-p', $dir, '-e', "$dir/error", '-c', "$dir/conf" ],
		'<', \undef, '>&', \$program->{output});
	push @programs, $program;
	wait_until(
		'nginx listens',
		sub {
			$program->{run}->pump_nb;
			return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
		}) or BAIL_OUT('nginx says: ' . ($program->{output} // '') . slurp_file("$dir/error"));
	return $program;
}

# Start an HTTP front of examples/.  It connects as the given user.
sub start_front
{
	my ($node, $user, $name, %env) = @_;
	my %commands = (
		express => [ 'node', "$ENV{WHATSAPP_FRONT}/server.js" ],
		# (the one that Debian's modules are for)
		python => [ '/usr/bin/python3', "$ENV{WHATSAPP_FRONT}/../python/front.py" ],
	);

	return start_program(
		{
			PGHOST => $node->host,
			PGPORT => $node->port,
			PGDATABASE => 'postgres',
			PGUSER => $user,
			PORT => 0,
			%env
		},
		@{ $commands{ $name // 'express' } });
}

# Start a program that says on which port it listens.
sub start_program
{
	my ($env, @command) = @_;
	my $dir = File::Temp->newdir;
	my $program = { dir => $dir, log => "$dir/log" };
	local @ENV{ keys %$env } = values %$env;

	# (not to pipes, as these become full if nobody reads them)
	$program->{run} =
	  IPC::Run::start(\@command, '<', \undef, '>', $program->{log},
		'2>', "$program->{log}.errors");
	push @programs, $program;
	wait_until(
		"@command[0, 1] listens",
		sub { return ($program->{port}) = slurp_file($program->{log}) =~ /^listening on (\d+)$/m })
	  or BAIL_OUT('it says: ' . slurp_file("$program->{log}.errors"));
	return $program;
}

sub stop_program
{
	my ($program) = @_;

	$program->{run}->signal('TERM');
	return $program->{run}->finish;
}

END
{
	my $status = $?;

	foreach my $program (@programs)
	{
		eval { $program->{run}->kill_kill(grace => 2) };
	}
	$? = $status;
}

# Where messages are sent to.
sub graph_url
{
	my ($graph, $path) = @_;

	return ($graph->{scheme} // 'http') . "://127.0.0.1:$graph->{port}$path";
}

# Talk to the simulator; see test/graph.js for what it understands.
sub control_url
{
	my ($graph, $path) = @_;

	return "http://127.0.0.1:" . ($graph->{control} // $graph->{port}) . $path;
}

sub graph_post
{
	my ($graph, $path, $content) = @_;
	my $answer = $http->post(
		control_url($graph, $path),
		{
			headers => { 'content-type' => 'application/json' },
			content => encode_json($content // {})
		});

	die "the simulator says: $answer->{status} $answer->{content}"
	  if !$answer->{success};
	return decode_json($answer->{content} || '{}');
}

sub graph_get
{
	my ($graph, $path) = @_;

	return decode_json($http->get(control_url($graph, $path))->{content});
}

# How many requests there were, for a recipient if one is given.
sub graph_requests
{
	my ($graph, $recipient) = @_;

	return scalar(grep { ($_->{to} // '') =~ $recipient }
		  @{ graph_get($graph, '/_log') })
	  if ref $recipient;
	return graph_get($graph,
		'/_count' . (defined $recipient ? "?recipient=$recipient" : ''))
	  ->{requests};
}

# Test that so many requests come to be under way, unanswered.
sub wait_for_in_flight
{
	my ($graph, $n, $what) = @_;

	return ok(
		wait_until(
			"$n are under way",
			sub { graph_get($graph, '/_count')->{in_flight} == $n }),
		$what);
}

# The bytes of a webhook of ours.
sub fixture
{
	my ($name) = @_;

	return slurp_file("test/webhooks/$name.json");
}

# The header X-Hub-Signature-256 that Meta sends with a body.
sub sign
{
	my ($body) = @_;

	return 'sha256=' . hmac_sha256_hex($body, SECRET);
}

# All that the extension is made of, in lines; see test/catalog.sql.  Or what it
# would be after a statement, which is rolled back.
sub catalog
{
	my ($node, $database, $statement) = @_;
	my $query = slurp_file('test/catalog.sql');

	$query = "BEGIN; $statement;\n$query\nROLLBACK" if defined $statement;
	return [ split(/\n/, $node->safe_psql($database, $query)) ];
}

# The lines that only the first of two lists has (-), or only the second (+).
sub differences
{
	my ($old, $new) = @_;
	my (%balance, @lines);

	$balance{$_}-- foreach @$old;
	$balance{$_}++ foreach @$new;
	foreach my $line (sort keys %balance)
	{
		push @lines, ($balance{$line} < 0 ? '- ' : '+ ') . $line
		  if $balance{$line} != 0;
	}
	return join("\n", @lines);
}

# Wait until something is so.  Returns false if it never is.
sub wait_until
{
	my ($what, $is_so) = @_;
	my $end = time() + PATIENCE;

	while (time() < $end)
	{
		return 1 if $is_so->();
		sleep(0.02);
	}
	diag("waited in vain until $what");
	return 0;
}

sub sender_pid
{
	my ($node, $database) = @_;

	return $node->safe_psql('postgres', sprintf(
			"SELECT pid FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND datname = '%s'",
			$database // 'postgres'));
}

# Wait for a sender, other than one that is known, and return its process.
sub wait_for_sender
{
	my ($node, $database, $other) = @_;
	my $pid;

	wait_until(
		'there is a sender',
		sub {
			$pid = eval { sender_pid($node, $database) };
			return $pid && $pid ne ($other // '');
		});
	return $pid;
}

# Test that rows of the outbox come to be in a state, all of them.  While the
# server restarts there is no knowing.
sub wait_for_state
{
	my ($node, $where, $state, $what, $database) = @_;

	return ok(
		wait_until(
			"$where is $state",
			sub {
				my $states = eval {
					$node->safe_psql($database // 'postgres',
						"SELECT string_agg(DISTINCT state, ',') FROM whatsapp.outbox WHERE $where"
					);
				};
				return ($states // '') eq $state;
			}),
		$what // "$where: $state");
}

1;
