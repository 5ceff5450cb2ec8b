package main

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	mostCalls    = 2_000_000 // of one run
	mostFailures = 20        // of one client: then it gives up
	keptFailures = 5         // shown in the report
)

// user is one closed-loop client and what it has seen.
type user struct {
	*client
	window    window
	calls     int
	first     time.Duration
	latencies []time.Duration
	units     int
	statuses  map[string]int
	failures  []string
}

// window is what is measured: calls that begin and end inside it.
type window struct{ from, until time.Time }

func (w window) holds(began, ended time.Time) bool {
	return !began.Before(w.from) && !ended.After(w.until)
}

// call makes one request and measures it; an unexpected reply is noted, and false returned.
func (u *user) call(expected int, method, path string, body []byte) ([]byte, bool) {
	began := time.Now()
	status, reply, err := u.send(method, path, body)
	ended := time.Now()
	if u.calls++; u.calls == 1 {
		u.first = ended.Sub(began)
	}
	if err != nil {
		u.fail("no reply", err.Error())
		return nil, false
	}
	if status != expected {
		u.fail(strconv.Itoa(status), fmt.Sprintf("%s %s: %d %.200s", method, path, status, reply))
		return nil, false
	}
	if u.window.holds(began, ended) {
		u.statuses[strconv.Itoa(status)]++
		u.latencies = append(u.latencies, ended.Sub(began))
	}
	return reply, true
}

// post is a call with a body.
func (u *user) post(expected int, path string, body []byte) ([]byte, bool) {
	return u.call(expected, "POST", path, body)
}

// count notes finished units of work: jobs, lines, pages.
func (u *user) count(units int) {
	if now := time.Now(); u.window.holds(now, now) {
		u.units += units
	}
}

func (u *user) fail(status, what string) {
	u.statuses[status]++
	u.failures = append(u.failures, what)
}

// load is the report of a closed loop. Times are milliseconds, CPU is in seconds of this process in the window.
type load struct {
	Units      int            `json:"units"`
	Rate       float64        `json:"rate"`
	Requests   int            `json:"requests"`
	P50        float64        `json:"p50"`
	P95        float64        `json:"p95"`
	P99        float64        `json:"p99"`
	Max        float64        `json:"max"`
	First      float64        `json:"first"`
	Seconds    float64        `json:"seconds"`
	CPUSeconds float64        `json:"cpu_seconds"`
	Statuses   map[string]int `json:"statuses"`
	Failures   []string       `json:"failures"`
}

// closedLoop lets each client prepare itself and take one step, which opens the connections of client and service,
// then runs its steps one after the other until time is up.
func closedLoop(o options, prepare func(*user) (step func(), err error)) (any, error) {
	users := make([]*user, o.clients)
	steps := make([]func(), o.clients)
	for i := range users {
		users[i] = &user{client: &client{address: o.address}, statuses: map[string]int{}}
		step, err := prepare(users[i])
		if err != nil {
			return nil, err
		}
		users[i].calls = 0
		steps[i] = step
	}
	each(users, func(i int, _ *user) { steps[i]() })
	measured := windowOf(o)
	if failed(users) {
		return summary(users, measured, 0), nil
	}
	for _, u := range users {
		u.window = measured
	}
	cpu := cpuBetween(measured)
	each(users, func(i int, u *user) { repeat(u, steps[i], mostCalls/o.clients) })
	return summary(users, measured, <-cpu), nil
}

func windowOf(o options) window {
	from := time.Now().Add(time.Duration(o.warmup * float64(time.Second)))
	return window{from, from.Add(time.Duration(o.seconds * float64(time.Second)))}
}

// each does something for all users at once, and waits until it is done.
func each(users []*user, do func(int, *user)) {
	var running sync.WaitGroup
	for i, u := range users {
		running.Go(func() { do(i, u) })
	}
	running.Wait()
}

func failed(users []*user) bool {
	return slices.ContainsFunc(users, func(u *user) bool { return len(u.failures) > 0 })
}

func repeat(u *user, step func(), most int) {
	for time.Now().Before(u.window.until) && u.calls < most && len(u.failures) < mostFailures {
		step()
	}
	u.close()
}

func summary(users []*user, measured window, cpu float64) load {
	report := load{
		Seconds:    measured.until.Sub(measured.from).Seconds(),
		CPUSeconds: cpu,
		Statuses:   map[string]int{},
		First:      milliseconds(users[0].first),
	}
	var all []time.Duration
	for _, u := range users {
		all = append(all, u.latencies...)
		report.Units += u.units
		for status, count := range u.statuses {
			report.Statuses[status] += count
		}
		report.Failures = append(report.Failures, u.failures...)
	}
	report.Failures = distinct(report.Failures)
	report.Requests = len(all)
	report.Rate = float64(report.Units) / report.Seconds
	slices.Sort(all)
	report.P50, report.P95, report.P99 = quantile(all, 0.5), quantile(all, 0.95), quantile(all, 0.99)
	report.Max = quantile(all, 1)
	return report
}

// distinct failures, a few of them.
func distinct(failures []string) []string {
	slices.Sort(failures)
	failures = slices.Compact(failures)
	return failures[:min(len(failures), keptFailures)]
}

// quantile of sorted durations, in milliseconds: the least that this share of them does not exceed.
func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(share*float64(len(sorted)) + 0.999999)
	return milliseconds(sorted[min(max(rank, 1), len(sorted))-1])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpuBetween gives the CPU seconds that this process uses in the window, once it has passed.
func cpuBetween(measured window) <-chan float64 {
	used := make(chan float64, 1)
	go func() {
		time.Sleep(time.Until(measured.from))
		before := cpuSeconds()
		time.Sleep(time.Until(measured.until))
		used <- cpuSeconds() - before
	}()
	return used
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
