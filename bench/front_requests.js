'use strict';

/*
 * Requests for bench/front.sh: text webhooks of many people, each with its
 * signature, a line each: signature, tab, body.
 *
 *	node front_requests.js COUNT SECRET PREFIX
 */

const { createHmac } = require('node:crypto');

const [count, secret, prefix] = process.argv.slice(2);
const PEOPLE = 5000;
let lines = [];

for (let i = 0; i < Number(count); i++) {
	const wa_id = String(15550000000 + i % PEOPLE);
	const body = JSON.stringify({
		object: 'whatsapp_business_account',
		entry: [{
			id: '102290129340398',
			changes: [{
				field: 'messages',
				value: {
					messaging_product: 'whatsapp',
					metadata: { display_phone_number: '15550783881', phone_number_id: '106540352242922' },
					contacts: [{ profile: { name: `Person ${i % PEOPLE}` }, wa_id }],
					messages: [{ from: wa_id, id: `wamid.${prefix}${i}`, timestamp: String(1750101000 + i), type: 'text', text: { body: `Hello, this is number ${i}` } }],
				},
			}],
		}],
	});
	lines.push(`sha256=${createHmac('sha256', secret).update(body).digest('hex')}\t${body}`);
	if (lines.length === 1000 || i === count - 1) {
		process.stdout.write(lines.join('\n') + '\n');
		lines = [];
	}
}
