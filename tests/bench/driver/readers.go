package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	straggling = 5 * time.Second  // for lines that are under way when the last one is written
	settling   = 20 * time.Second // for all readers to be connected, and to be told of the end
)

// epoch is what the lines tell their time from: this process's monotonic clock.
var epoch = time.Now()

// delivery is the report of the readers; times are milliseconds, `window` is in Unix seconds.
type delivery struct {
	Readers    int        `json:"readers"`
	Jobs       int        `json:"jobs"`
	Lines      int        `json:"lines"`
	Deliveries int        `json:"deliveries"`
	Missing    int        `json:"missing"`
	Repeated   int        `json:"repeated"`
	P50        float64    `json:"p50"`
	P95        float64    `json:"p95"`
	P99        float64    `json:"p99"`
	Max        float64    `json:"max"`
	Window     [2]float64 `json:"window"`
	CPUSeconds float64    `json:"cpu_seconds"`
	Seconds    float64    `json:"seconds"`
	Failures   []string   `json:"failures"`
}

// audience is all readers, and what they have been told.
type audience struct {
	ready     chan struct{}
	ended     chan struct{}
	delivered atomic.Int64
	mutex     sync.Mutex
	latencies []time.Duration
	repeated  int
	failures  []string
}

func readers(o options) (any, error) {
	writer := &user{client: &client{address: o.address}, statuses: map[string]int{}}
	jobs := make([]string, o.jobs)
	for i := range jobs {
		job, err := writer.runningJob(o.automation)
		if err != nil {
			return nil, err
		}
		jobs[i] = job
	}
	crowd := &audience{ready: make(chan struct{}, o.clients), ended: make(chan struct{}, o.clients)}
	crowd.gather(o, jobs)
	if err := crowd.await(crowd.ready, o.clients, "connected readers"); err != nil {
		return nil, err
	}
	measured := windowOf(o)
	cpu := cpuBetween(measured)
	written := crowd.write(o, jobs, measured)
	expected := written * o.clients / o.jobs
	crowd.awaitDeliveries(expected)
	for _, job := range jobs {
		writer.finish(job)
	}
	if err := crowd.await(crowd.ended, o.clients, "readers told of the end"); err != nil {
		crowd.fail(err.Error())
	}
	return crowd.report(o, written, expected, measured, <-cpu), nil
}

func (a *audience) await(signals <-chan struct{}, count int, what string) error {
	late := time.After(settling)
	for got := range count {
		select {
		case <-signals:
		case <-late:
			return fmt.Errorf("%d of %d %s after %s: %s", got, count, what, settling, strings.Join(a.failed(), "; "))
		}
	}
	return nil
}

// gather connects as many readers to each job.
func (a *audience) gather(o options, jobs []string) {
	transport := &http.Transport{DisableCompression: true}
	for i := range o.clients {
		job := jobs[i%len(jobs)]
		go func() {
			if err := a.read(transport, "http://"+o.address+prefix+"/jobs/"+job+"/logs/stream"); err != nil {
				a.fail(err.Error())
			}
		}()
	}
}

func (a *audience) read(transport *http.Transport, address string) error {
	request, err := http.NewRequest("GET", address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "text/event-stream")
	reply, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, reply.Status)
	}
	return a.listen(bufio.NewScanner(reply.Body))
}

// listen takes one stream's events until its `end`.
func (a *audience) listen(stream *bufio.Scanner) error {
	var event string
	lastID, connected := 0, false
	for stream.Scan() {
		name, value, _ := strings.Cut(stream.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			event = value
		case "id":
			id, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("a line's id is %q", value)
			}
			a.note(id <= lastID)
			lastID = id
		case "data":
			switch event {
			case "status":
				if !connected {
					connected = true
					a.ready <- struct{}{}
				}
			case "log":
				if err := a.take(value); err != nil {
					return err
				}
			case "end":
				a.ended <- struct{}{}
				return nil
			case "error":
				return fmt.Errorf("a reader was dropped: %s", value)
			}
		}
	}
	return fmt.Errorf("a stream broke off: %v", stream.Err())
}

// note that a line came again, or before an earlier one.
func (a *audience) note(repeated bool) {
	if repeated {
		a.mutex.Lock()
		a.repeated++
		a.mutex.Unlock()
	}
}

// take measures how old the line is.
func (a *audience) take(data string) error {
	arrived := time.Since(epoch)
	var line struct{ Message string }
	if err := json.Unmarshal([]byte(data), &line); err != nil {
		return err
	}
	sent, err := strconv.ParseInt(line.Message, 10, 64)
	if err != nil {
		return fmt.Errorf("a line that nobody wrote: %.100q", line.Message)
	}
	a.mutex.Lock()
	a.latencies = append(a.latencies, arrived-time.Duration(sent))
	a.mutex.Unlock()
	a.delivered.Add(1)
	return nil
}

func (a *audience) fail(what string) {
	a.mutex.Lock()
	a.failures = append(a.failures, what)
	a.mutex.Unlock()
}

func (a *audience) failed() []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return distinct(slices.Clone(a.failures))
}

// write sends each job a line an interval, on time whatever became of the one before; returns how many were kept.
func (a *audience) write(o options, jobs []string, measured window) int {
	if o.interval == 0 {
		time.Sleep(time.Until(measured.until))
		return 0
	}
	var kept atomic.Int64
	var writing sync.WaitGroup
	for i, job := range jobs {
		begin := measured.from
		if o.spread {
			begin = begin.Add(o.interval * time.Duration(i) / time.Duration(len(jobs)))
		}
		writing.Go(func() {
			writer := &user{client: &client{address: o.address}, statuses: map[string]int{}}
			for due := begin; due.Before(measured.until); due = due.Add(o.interval) {
				time.Sleep(time.Until(due))
				body := fmt.Sprintf(`{"level":"INFO","message":"%d"}`, time.Since(epoch))
				if _, ok := writer.post(201, workerPath(job, "log"), []byte(body)); ok {
					kept.Add(1)
				}
			}
			for _, failure := range writer.failures {
				a.fail(failure)
			}
		})
	}
	writing.Wait()
	time.Sleep(time.Until(measured.until))
	return int(kept.Load())
}

func (a *audience) awaitDeliveries(expected int) {
	late := time.Now().Add(straggling)
	for a.delivered.Load() < int64(expected) && time.Now().Before(late) {
		time.Sleep(10 * time.Millisecond)
	}
}

func (a *audience) report(o options, written, expected int, measured window, cpu float64) delivery {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	slices.Sort(a.latencies)
	return delivery{
		Readers:    o.clients,
		Jobs:       o.jobs,
		Lines:      written,
		Deliveries: len(a.latencies),
		Missing:    max(expected-len(a.latencies), 0),
		Repeated:   a.repeated,
		P50:        quantile(a.latencies, 0.5),
		P95:        quantile(a.latencies, 0.95),
		P99:        quantile(a.latencies, 0.99),
		Max:        quantile(a.latencies, 1),
		Window:     [2]float64{unix(measured.from), unix(measured.until)},
		CPUSeconds: cpu,
		Seconds:    measured.until.Sub(measured.from).Seconds(),
		Failures:   distinct(a.failures),
	}
}

func unix(instant time.Time) float64 { return float64(instant.UnixNano()) / 1e9 }
