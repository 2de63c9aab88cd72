'use strict';

/*
 * The HTTP front of the whatsapp extension: it passes Meta's requests to the
 * database as they came, and the answers back as they are. All decisions are
 * made in the database. See README.md for how to run it.
 */

const http = require('node:http');
const express = require('express');
const { DatabaseError, Pool } = require('pg');
const { Batcher } = require('./batch.js');

const HANDLE_WEBHOOK = 'SELECT status, content_type, body FROM whatsapp.handle_webhook($1, $2, $3, $4)';

/* The most that Meta sends, and how much of all requests is kept in memory at a time, in bytes. */
const MAX_BODY = 3 * 1024 * 1024;
const MAX_BYTES = 256 * 1024 * 1024;

/* How long a request may take to come, and how long to wait for what is under way when told to stop, in ms. */
const REQUEST_TIMEOUT = Number(process.env.REQUEST_TIMEOUT || 60) * 1000;
const STOP_TIMEOUT = Number(process.env.STOP_TIMEOUT || 20) * 1000;

/* The database is the one that the PG* variables name. */
const pool = new Pool({ max: 20, connectionTimeoutMillis: 5_000, statement_timeout: 10_000, query_timeout: 12_000 });
const batcher = new Batcher(pool);
const lines = [];
let bytes = 0;
let stopping = false;

/* An answer that the front gives by itself. */
class Refusal extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

/* Makes room. */
function forget(chunks) {
	for (const chunk of chunks.splice(0))
		bytes -= chunk.length;
}

/*
 * Reads the body into an array of chunks. What is too much is read, too, as who
 * sends it would not see the answer otherwise, but it is not kept.
 */
function read(req, chunks) {
	let length = 0;
	let refusal = null;

	return new Promise((resolve, reject) => {
		req.on('data', chunk => {
			length += chunk.length;
			if (length > MAX_BODY)
				refusal ??= new Refusal(413, 'too large');
			else if (bytes + chunk.length > MAX_BYTES)
				refusal ??= new Refusal(503, 'too much at a time');
			if (refusal) {
				forget(chunks);
			} else {
				bytes += chunk.length;
				chunks.push(chunk);
			}
		});
		req.on('end', () => refusal ? reject(refusal) : resolve(Buffer.concat(chunks)));
		// (if its sender goes away)
		req.on('error', reject);
	});
}

/* Has the database answer: status, content type and body. */
async function passOn(req, body, entry) {
	const signature = req.get('X-Hub-Signature-256') ?? null;

	if (req.method === 'POST') {
		const { status, batch } = await batcher.deliver(body, signature);

		entry.batch = batch;
		return { status };
	}
	const query = req.originalUrl.split(/\?(.*)/s)[1] ?? null;
	const { rows } = await pool.query({ name: 'handle_webhook', text: HANDLE_WEBHOOK, values: [req.method, query, signature, body] });

	return rows[0];
}

/* What becomes of an error: the sender's fault, or ours, and then Meta comes again. */
function refuse(error, entry) {
	// what the database says may have a part of a message in it; its log has that
	entry.error = error instanceof DatabaseError ? `SQLSTATE ${error.code}` : error.message || error.code;
	return { status: error instanceof Refusal ? error.status : 503 };
}

/* Sends an answer. (Express's own send() would look at If-None-Match.) */
function send(req, res, { status, content_type: type = 'text/plain', body = http.STATUS_CODES[status] }) {
	const headers = { 'Content-Type': `${type}; charset=utf-8`, 'Content-Length': Buffer.byteLength(body) };

	if (status === 405)
		headers.Allow = 'GET, POST';
	if (status === 503)
		headers['Retry-After'] = '5';
	if (stopping || !req.complete)
		headers.Connection = 'close';
	res.writeHead(status, headers).end(body);
}

/* Writes a line; those of the same moment together. */
function log(entry) {
	if (lines.push(JSON.stringify(entry) + '\n') === 1)
		setImmediate(() => process.stdout.write(lines.splice(0).join('')));
}

/* Answers one request, and writes a line: nothing of what it says, and not the query string, as that has the verify token. */
async function handle(req, res, answer) {
	const began = process.hrtime.bigint();
	const entry = { at: new Date().toISOString(), method: req.method, path: req.url.split('?')[0] };
	const chunks = [];

	try {
		const body = await read(req, chunks);

		entry.bytes = body.length;
		answer ??= await passOn(req, body, entry);
	} catch (error) {
		answer = refuse(error, entry);
	} finally {
		forget(chunks);
	}
	// null if there is nobody any more
	entry.status = req.socket.destroyed ? null : answer.status;
	send(req, res, answer);
	entry.ms = Number((process.hrtime.bigint() - began) / 1000n) / 1000;
	log(entry);
}

/* Finishes what is under way, then ends. */
function stop() {
	if (stopping)
		return;
	stopping = true;
	server.close(() => pool.end().then(() => process.exit(0)));
	server.closeIdleConnections();
	setTimeout(() => server.closeAllConnections(), STOP_TIMEOUT).unref();
}

const app = express();
app.enable('strict routing');
app.enable('case sensitive routing');
app.disable('x-powered-by');
app.all('/webhook', (req, res) => handle(req, res));

const server = http.createServer({
	headersTimeout: Math.min(10_000, REQUEST_TIMEOUT), requestTimeout: REQUEST_TIMEOUT, keepAliveTimeout: 60_000,
	connectionsCheckingInterval: REQUEST_TIMEOUT / 4,
	// (what is left over is another path, or none)
}, (req, res) => app(req, res, () => handle(req, res, { status: 404 })));

pool.on('error', error => console.error(JSON.stringify({ at: new Date().toISOString(), error: `idle connection: ${error.message}` })));
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
server.listen(process.env.PORT || 3000, process.env.HOST || '127.0.0.1', () => {
	console.log(`listening on ${server.address().port}`);
});
