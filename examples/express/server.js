'use strict';

/*
 * The HTTP front of the whatsapp extension: it passes Meta's request to
 * whatsapp.handle_webhook() as it came, and the answer back as it is. All
 * decisions are made in the database. See README.md for how to run it.
 */

const http = require('node:http');
const express = require('express');
const { Pool } = require('pg');

const HANDLE_WEBHOOK = 'SELECT status, content_type, body FROM whatsapp.handle_webhook($1, $2, $3, $4)';

/* The database is the one that the PG* variables name. */
const pool = new Pool({ max: 20, connectionTimeoutMillis: 5_000, statement_timeout: 10_000, query_timeout: 12_000 });
const app = express();
const server = http.createServer(app);
let stopping = false;

/* Passes one request on. Express leaves no Buffer behind if there was no body. */
async function passOn(req, res) {
	const query = req.originalUrl.split(/\?(.*)/s)[1] ?? null;
	const body = Buffer.isBuffer(req.body) ? req.body : null;
	const values = [req.method, query, req.get('X-Hub-Signature-256') ?? null, body];
	const { rows: [answer] } = await pool.query({ name: 'handle_webhook', text: HANDLE_WEBHOOK, values });

	if (stopping)
		res.set('Connection', 'close');
	res.status(answer.status).type(answer.content_type).send(answer.body);
}

/* A request that cannot be read is the sender's fault; anything else is ours, and Meta comes again. */
function refuse(error, req, res, next) {
	const status = error.status >= 400 && error.status < 500 ? error.status : 503;

	if (res.headersSent)
		return next(error);
	if (status === 503) {
		console.error(`webhook: ${error.message || error.code}`);
		res.set('Retry-After', '5');
	}
	res.status(status).type('text/plain').send(http.STATUS_CODES[status]);
}

/* Finishes what is under way, then ends. */
function stop() {
	if (stopping)
		return;
	stopping = true;
	server.close(() => pool.end().then(() => process.exit(0)));
	server.closeIdleConnections();
}

app.disable('x-powered-by');
app.disable('etag');
app.all('/webhook', express.raw({ type: () => true, inflate: false, limit: '3mb' }), (req, res, next) => passOn(req, res).catch(next));
app.use(refuse);

pool.on('error', error => console.error(`idle connection: ${error.message}`));
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

server.listen(process.env.PORT || 3000, process.env.HOST || '127.0.0.1', () => {
	console.log(`listening on ${server.address().port}`);
});
