# How many messages leave in a second when each answer takes 200 ms, and 1,000
# may be under way, to as many people as there are messages: beside what could
# be at most, which is 1,000 in each 200 ms, and beside bare libcurl.

use strict;
use warnings;

use Bench;
use Whatsapp;

use constant MESSAGES => size(50_000, 5_000);
use constant ROUNDS => size(5, 2);
use constant IN_FLIGHT => 1000;
use constant LATENCY => 0.2;

my $node = start_cluster('wan', undef, 'whatsapp.max_in_flight = ' . IN_FLIGHT);

foreach my $protocol ([ http => 'HTTP/1.1' ], [ h2 => 'HTTP/2' ])
{
	my ($scheme, $name) = @$protocol;
	my $server = start_server($scheme, after => LATENCY);

	progress($name);
	send_to($node, $server);
	my $rates = compare(ROUNDS,
		ours => sub {
			empty_outbox($node);
			fill_outbox($node, MESSAGES);
			my $seconds = drain_outbox($node, $server, MESSAGES);
			check_sent($node, $server, MESSAGES);
			return MESSAGES / $seconds;
		},
		bound => sub { return IN_FLIGHT / LATENCY },
		bare => sub { return MESSAGES / post_bare($node, $server, MESSAGES, IN_FLIGHT) });

	report(case => $name, beside => '1,000 each 200 ms', compared($rates, 'ours', 'bound'),
		unit => 'messages/s', goal => 'ratio >= 0.9');
	report(case => $name, beside => 'bare libcurl', compared($rates, 'ours', 'bare'), unit => 'messages/s');
}
