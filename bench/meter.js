'use strict';

/*
 * Passes connections on to a port, and counts the bytes: what goes over the wire,
 * TLS and all, but for the headers of TCP and IP.
 *
 *	node meter.js PORT
 *
 * It listens on 127.0.0.1 and says where. SIGUSR2 has it write two lines, "sent N"
 * and "received N", as the one who connects sees it, and count from 0 again.
 */

const net = require('node:net');

const port = Number(process.argv[2]);
let sent = 0;
let received = 0;

const server = net.createServer({ noDelay: true }, client => {
	const upstream = net.connect({ port, host: '127.0.0.1', noDelay: true });

	client.on('data', data => { sent += data.length; });
	upstream.on('data', data => { received += data.length; });
	client.pipe(upstream);
	upstream.pipe(client);
	client.on('error', () => upstream.destroy());
	upstream.on('error', () => client.destroy());
});

process.on('SIGUSR2', () => {
	process.stdout.write(`sent ${sent}\nreceived ${received}\n`);
	sent = received = 0;
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
	process.stdout.write(`listening on ${server.address().port}\n`);
});
