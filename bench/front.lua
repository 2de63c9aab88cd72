-- For wrk with one thread, by bench/front.sh: posts the requests of a file.

function init(args)
	requests = {}
	for line in io.lines(args[1]) do
		local signature, body = line:match("^(.-)\t(.*)$")
		requests[#requests + 1] = wrk.format("POST", "/webhook",
			{ ["Content-Type"] = "application/json", ["X-Hub-Signature-256"] = signature }, body)
	end
	at = 0
end

function request()
	at = at + 1
	return requests[(at - 1) % #requests + 1]
end

function done(summary, latency, requests)
	io.write(string.format("RESULT %.0f %.2f %.2f %d\n", summary.requests / (summary.duration / 1e6),
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.connect + summary.errors.status + summary.errors.read + summary.errors.timeout))
end
