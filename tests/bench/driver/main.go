// The load driver of `make bench-service`: closed-loop clients on connections of their own, one process, the
// standard library alone. Prints one JSON object; the caller judges it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const usage = `usage: driver SCENARIO [flags]

  call             one request over and over
  batch            POST an array of -size copies of -body
  lifecycle        execute, start, 10 single log lines, finish: 13 calls a job
  lifecycle-batch  execute -size jobs in one call, then start, 10 lines in one call, finish for each
  lines            log lines of a running job, -size of them a call
  pages            pages of GET /jobs at random depths, by key
  readers          SSE readers of log streams, while lines are written
  null             a server that answers each of these calls and does nothing

BENCH_TOKEN and BENCH_WORKER_KEY are the credentials.
`

type options struct {
	address    string
	clients    int
	seconds    float64
	warmup     float64
	automation int
	method     string
	path       string
	body       string
	expect     int
	size       int
	filter     string
	days       int
	jobs       int
	interval   time.Duration
	spread     bool
}

// prefix of every path of the API.
const prefix = "/api/v1"

var scenarios = map[string]func(options) (any, error){
	"call":            call,
	"batch":           batch,
	"lifecycle":       lifecycle,
	"lifecycle-batch": lifecycleByBatch,
	"lines":           lines,
	"pages":           pages,
	"readers":         readers,
	"null":            null,
}

func main() {
	if len(os.Args) < 2 || scenarios[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	chosen := parse(os.Args[2:])
	report, err := scenarios[os.Args[1]](chosen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		os.Exit(1)
	}
}

func parse(arguments []string) options {
	var o options
	flags := flag.NewFlagSet("driver", flag.ExitOnError)
	flags.StringVar(&o.address, "address", "127.0.0.1:8000", "host:port; loopback only")
	flags.IntVar(&o.clients, "clients", 1, "connections, each with one request under way; readers: how many")
	flags.Float64Var(&o.seconds, "seconds", 5, "of the measured window")
	flags.Float64Var(&o.warmup, "warmup", 0.5, "seconds before it")
	flags.IntVar(&o.automation, "automation", 1, "id of the automation that is executed")
	flags.StringVar(&o.method, "method", "GET", "call: the method")
	flags.StringVar(&o.path, "path", "/", "call, batch: the path with its query")
	flags.StringVar(&o.body, "body", `{"month":"2026-11"}`, "call, batch: the body of a POST")
	flags.IntVar(&o.expect, "expect", 200, "call, batch: the status that is no error")
	flags.IntVar(&o.size, "size", 1, "lines, or jobs, a call")
	flags.StringVar(&o.filter, "filter", "", "pages: the filters of the list, as in a query")
	flags.IntVar(&o.days, "days", 30, "pages: how far back the jobs go")
	flags.IntVar(&o.jobs, "jobs", 50, "readers: running jobs that they read")
	flags.DurationVar(&o.interval, "interval", time.Second, "readers: between two lines of a job; 0 writes none")
	flags.BoolVar(&o.spread, "spread", false, "readers: the jobs' lines spread over the interval, not all at once")
	_ = flags.Parse(arguments)
	if !strings.HasPrefix(o.address, "127.0.0.1:") {
		fmt.Fprintln(os.Stderr, "driver: load goes to 127.0.0.1 only")
		os.Exit(2)
	}
	return o
}
