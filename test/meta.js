'use strict';

/*
 * Meta as a client of a webhook: delivers messages until each was answered 200.
 *
 *	node test/meta.js '{"url": "http://127.0.0.1:3000/webhook", "secret": "...", "count": 1000}'
 *
 *	url, secret			whom to deliver to, and the app secret to sign with
 *	count				how many deliveries, each of one text message, with the ids
 *					PREFIX0, PREFIX1 and so on
 *	prefix				of these ids ("wamid.M")
 *	concurrency			how many at a time, each on a connection of its own (64)
 *	styles				how the bodies come, by turns: plain, chunked, slow (in pieces, with
 *					pauses), slow chunked, large (almost 3 MB) (["plain"])
 *	phone_number_id			whom the messages are to
 *	pause				between a delivery that failed and the next attempt, in ms (200)
 *	patience			after which nothing is delivered again, in ms (120000)
 *
 * What is not answered 200, or not at all, is delivered again, as it was. In the
 * end one line of JSON tells how many were delivered, how many attempts it took,
 * and how many answers there were of each status ("none" if there was none).
 */

const http = require('node:http');
const { createHmac } = require('node:crypto');

const MAX_BODY = 3 * 1024 * 1024;
const PIECES = 5;
const PAUSE_BETWEEN_PIECES = 100;

const config = {
	count: 1, prefix: 'wamid.M', concurrency: 64, styles: ['plain'], phone_number_id: '106540352242922',
	pause: 200, patience: 120_000, ...JSON.parse(process.argv[2]),
};
const agent = new http.Agent({ keepAlive: true, maxSockets: config.concurrency });
const summary = { delivered: 0, attempts: 0, statuses: {} };
const deadline = Date.now() + config.patience;
let next = 0;

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/* The bytes of a delivery; emoji and escapes, as the signature is over these. */
function makeBody(number, style) {
	const message = {
		from: String(15550000000 + number), id: `${config.prefix}${number}`, timestamp: '1750101000', type: 'text',
		text: { body: `👋 ${number} @` },
	};
	const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: config.phone_number_id }, messages: [message] };

	if (style === 'large')
		value.padding = 'x'.repeat(MAX_BODY - 1000);
	return Buffer.from(JSON.stringify({ object: 'whatsapp_business_account', entry: [{ id: '1', changes: [{ field: 'messages', value }] }] })
		.replace('@', '\\u00e9 \\/ @'));
}

/* One attempt; resolves to the status, or "none". */
function post(body, style) {
	const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': `sha256=${createHmac('sha256', config.secret).update(body).digest('hex')}` };

	if (!style.includes('chunked'))
		headers['Content-Length'] = body.length;
	return new Promise(resolve => {
		const request = http.request(config.url, { method: 'POST', agent, headers, timeout: 60_000 }, answer => {
			answer.resume();
			answer.on('end', () => resolve(answer.statusCode));
			answer.on('error', () => resolve('none'));
		});
		request.on('error', () => resolve('none'));
		request.on('timeout', () => request.destroy(new Error('no answer')));
		send(request, body, style);
	});
}

async function send(request, body, style) {
	if (style !== 'plain' && style !== 'large') {
		const length = Math.ceil(body.length / PIECES);

		for (let i = 0; i < PIECES && !request.destroyed; i++) {
			request.write(body.subarray(i * length, (i + 1) * length));
			if (style.startsWith('slow'))
				await sleep(PAUSE_BETWEEN_PIECES);
		}
		request.end();
	} else {
		request.end(body);
	}
}

async function deliver() {
	while (next < config.count) {
		const number = next++;
		const style = config.styles[number % config.styles.length];
		const body = makeBody(number, style);

		for (;;) {
			const status = await post(body, style);

			summary.attempts++;
			summary.statuses[status] = (summary.statuses[status] ?? 0) + 1;
			if (status === 200) {
				summary.delivered++;
				break;
			}
			if (Date.now() > deadline)
				break;
			await sleep(config.pause);
		}
	}
}

Promise.all(Array.from({ length: config.concurrency }, deliver)).then(() => {
	console.log(JSON.stringify(summary));
	agent.destroy();
});
