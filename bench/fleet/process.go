package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a process of the run.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts this program in a role.
func start(role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, append([]string{"-role", role}, args...)...)}
	c.cmd.Stderr = os.Stderr
	c.in, err = c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 1<<20)
	return c, c.cmd.Start()
}

// ask asks the agents.
func (c *child) ask(question string, answer any) error {
	if _, err := fmt.Fprintln(c.in, question); err != nil {
		return err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("ask the agents %q: %w", question, err)
	}
	return json.Unmarshal(line, answer)
}

func (c *child) end(s syscall.Signal) {
	_ = c.cmd.Process.Signal(s)
	_ = c.cmd.Wait()
}

// tick is Linux's USER_HZ, 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// cpu is what a process has taken so far, and rss what is resident of it.
func (c *child) cpu() (cpu time.Duration, rss int64, err error) {
	dir := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return 0, 0, err
	}
	statm, err := os.ReadFile(dir + "statm")
	if err != nil {
		return 0, 0, err
	}
	fields, sizes := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])), strings.Fields(string(statm))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	pages, err3 := strconv.ParseInt(sizes[1], 10, 64)
	return time.Duration(user+system) * tick, pages * int64(os.Getpagesize()), errors.Join(err1, err2, err3)
}

// metrics are etcd's, summed up over all labels but those in the name, which
// may be name or name{label="value".
func metrics(endpoint string, names ...string) (map[string]float64, error) {
	res, err := http.Get("http://" + endpoint + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		line := lines.Text()
		for _, name := range names {
			metric, label, _ := strings.Cut(name, "{")
			rest, ok := strings.CutPrefix(line, metric)
			if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' || !strings.Contains(rest, label) {
				continue
			}
			v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			if err != nil {
				return nil, err
			}
			values[name] += v
		}
	}
	return values, nil
}
