'use strict';

/*
 * Takes requests and does nothing with them: what Express and HTTP cost at least,
 * for bench/front.sh. No front that uses them answers more.
 */

const express = require('express');

const app = express();

app.post('/webhook', express.raw({ type: () => true, limit: '3mb' }), (req, res) => {
	res.writeHead(200, { 'Content-Length': 0 }).end();
});

const server = app.listen(process.env.PORT || 0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
