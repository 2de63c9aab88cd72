-- Recipients, as people write them and as Meta takes them.
CREATE EXTENSION whatsapp;

SELECT r, whatsapp.recipient_key(r, 'individual')
FROM unnest(ARRAY[
	'15551234567', '+15551234567', '0015551234567', '+1 (555) 123-4567', '1.555.123.4567',
	'+49 (0)151/234 5678', ' 4915112345678 ', E'+49\u00a0151 2345678',
	'US.77120045539981', 'US.ENT.88230011457', 'DE.7Kq3Zx19Ab',
	'', ' ', '0151 2345678', '+0151', '123', '+1234567890123456', 'Ada', '+49 151 CALL ME', '49151#1', NULL
]) r;

SELECT whatsapp.recipient_key(E'\u202a+49\u2011151 2345678\u202c', 'individual');

SELECT whatsapp.recipient_key('R1JPVVAtRVhBTVBMRS0wMDE', 'group'), whatsapp.recipient_key(NULL, 'group');

DROP EXTENSION whatsapp;
