package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const patience = 30 * time.Second

var (
	token     = os.Getenv("BENCH_TOKEN")
	workerKey = os.Getenv("BENCH_WORKER_KEY")
)

// client is one keep-alive connection with one request under way. net/http's own client hands each request to
// two more goroutines; on a machine that driver and service share, that time is the service's.
type client struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	reply   bytes.Buffer
}

// send makes one call. The reply is valid until the next one.
func (c *client) send(method, path string, body []byte) (int, []byte, error) {
	status, err := c.exchange(method, path, body)
	if err != nil {
		c.close()
		return 0, nil, err
	}
	return status, c.reply.Bytes(), nil
}

func (c *client) exchange(method, path string, body []byte) (int, error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.request(method, path, body)); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, fmt.Errorf("the reply to %s %s: %w", method, path, err)
	}
	c.reply.Reset()
	if _, err := io.Copy(&c.reply, response.Body); err != nil {
		return 0, err
	}
	if response.Close {
		c.close()
	}
	return response.StatusCode, nil
}

func (c *client) request(method, path string, body []byte) []byte {
	out := append(c.out[:0], method...)
	out = append(out, ' ')
	out = append(out, path...)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, c.address...)
	out = append(out, "\r\nAuthorization: Bearer "...)
	out = append(out, token...)
	out = append(out, "\r\nX-Worker-API-Key: "...)
	out = append(out, workerKey...)
	if body != nil {
		out = append(out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
	}
	out = append(out, "\r\n\r\n"...)
	c.out = append(out, body...)
	return c.out
}

func (c *client) open() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 64<<10)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
