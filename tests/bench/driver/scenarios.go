package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	linesOfAJob = 10
	cursorCount = 200
)

var (
	parameters = []byte(`{"month":"2026-11"}`)
	nothing    = []byte(`{}`)
	finished   = []byte(`{"status":"completed","result":{"summary":{"ok":1,"failed":[]}}}`)
	line       = []byte(`{"level":"INFO","message":"fetched invoice 4711 of 9000 from the portal","actionable":false}`)
)

// array is a JSON array of that many copies.
func array(of []byte, size int) []byte {
	return slices.Concat([]byte{'['}, bytes.Join(slices.Repeat([][]byte{of}, size), []byte{','}), []byte{']'})
}

func executePath(automation int) string {
	return fmt.Sprintf("%s/automations/%d/execute", prefix, automation)
}

func workerPath(job, what string) string { return prefix + "/worker/jobs/" + job + "/" + what }

func idOf(reply []byte) string {
	var job struct{ ID string }
	if json.Unmarshal(reply, &job) != nil {
		return ""
	}
	return job.ID
}

func call(o options) (any, error) {
	var body []byte
	if o.method != "GET" {
		body = []byte(o.body)
	}
	return closedLoop(o, func(u *user) (func(), error) {
		return func() {
			if _, ok := u.call(o.expect, o.method, o.path, body); ok {
				u.count(1)
			}
		}, nil
	})
}

func batch(o options) (any, error) {
	body := array([]byte(o.body), o.size)
	return closedLoop(o, func(u *user) (func(), error) {
		return func() {
			if _, ok := u.post(o.expect, o.path, body); ok {
				u.count(o.size)
			}
		}, nil
	})
}

func lifecycle(o options) (any, error) {
	path := executePath(o.automation)
	return closedLoop(o, func(u *user) (func(), error) {
		return func() {
			reply, ok := u.post(202, path, parameters)
			if !ok {
				return
			}
			job := idOf(reply)
			_, ok = u.post(200, workerPath(job, "start"), nothing)
			for range linesOfAJob {
				if ok {
					_, ok = u.post(201, workerPath(job, "log"), line)
				}
			}
			if ok {
				u.finish(job)
			}
		}, nil
	})
}

func lifecycleByBatch(o options) (any, error) {
	path := executePath(o.automation) + "/batch"
	wanted, written := array(parameters, o.size), array(line, linesOfAJob)
	return closedLoop(o, func(u *user) (func(), error) {
		return func() {
			reply, ok := u.post(202, path, wanted)
			if !ok {
				return
			}
			var jobs []struct{ ID string }
			if err := json.Unmarshal(reply, &jobs); err != nil || len(jobs) != o.size {
				u.fail("202", fmt.Sprintf("not %d jobs: %.200s", o.size, reply))
				return
			}
			for _, job := range jobs {
				if time.Now().After(u.window.until) {
					return
				}
				_, ok = u.post(200, workerPath(job.ID, "start"), nothing)
				if ok {
					_, ok = u.post(201, workerPath(job.ID, "logs"), written)
				}
				if ok {
					u.finish(job.ID)
				}
			}
		}, nil
	})
}

func (u *user) finish(job string) {
	if _, ok := u.post(200, workerPath(job, "finish"), finished); ok {
		u.count(1)
	}
}

func lines(o options) (any, error) {
	what, body := "log", line
	if o.size > 1 {
		what, body = "logs", array(line, o.size)
	}
	return closedLoop(o, func(u *user) (func(), error) {
		job, err := u.runningJob(o.automation)
		if err != nil {
			return nil, err
		}
		path := workerPath(job, what)
		return func() {
			if _, ok := u.post(201, path, body); ok {
				u.count(o.size)
			}
		}, nil
	})
}

// runningJob executes and starts one.
func (u *user) runningJob(automation int) (string, error) {
	reply, ok := u.post(202, executePath(automation), parameters)
	if ok {
		job := idOf(reply)
		if _, ok = u.post(200, workerPath(job, "start"), nothing); ok {
			return job, nil
		}
	}
	return "", fmt.Errorf("no running job: %s", strings.Join(u.failures, "; "))
}

func pages(o options) (any, error) {
	list := prefix + "/jobs?"
	if o.filter != "" {
		list += o.filter + "&"
	}
	var paths []string
	return closedLoop(o, func(u *user) (func(), error) {
		for len(paths) < cursorCount {
			cursor, err := u.cursorBefore(list, randomInstant(o.days))
			if err != nil {
				return nil, err
			}
			paths = append(paths, list+"limit=50&after="+url.QueryEscape(cursor))
		}
		return func() {
			reply, ok := u.call(200, "GET", paths[rand.IntN(len(paths))], nil)
			if !ok {
				return
			}
			if !bytes.Contains(reply, []byte(`"items":[{`)) {
				u.fail("200", fmt.Sprintf("an empty page: %.200s", reply))
				return
			}
			u.count(1)
		}, nil
	})
}

// cursorBefore is where the page after the first one begins, of the jobs created before the instant.
func (u *user) cursorBefore(list string, instant time.Time) (string, error) {
	until := url.QueryEscape(instant.UTC().Format(time.RFC3339))
	reply, ok := u.call(200, "GET", list+"limit=1&until="+until, nil)
	if !ok {
		return "", fmt.Errorf("no cursor: %s", strings.Join(u.failures, "; "))
	}
	var page struct {
		NextCursor string `json:"nextCursor"`
	}
	if err := json.Unmarshal(reply, &page); err != nil || page.NextCursor == "" {
		return "", fmt.Errorf("no nextCursor in %.200s", reply)
	}
	return page.NextCursor, nil
}

// randomInstant is one of the last days, so that what comes before it still fills a page.
func randomInstant(days int) time.Time {
	whole := time.Duration(days) * 24 * time.Hour
	return time.Now().Add(-time.Duration(rand.Int64N(int64(whole * 9 / 10))))
}
