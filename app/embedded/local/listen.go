// Package local has what the embedded servers take of the machine: a port of
// the loopback interface, and a directory for themselves.
package local

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// portTries is how many ports after a default one are looked at. Ten `up` on
// one machine find room; more is a mistake that should be told.
const portTries = 20

// Listen listens on addr, "host:port" with a numeric port, 0 for any free one.
// With mayMove a port that is in use gives the next free one above it; without
// it, and for every other reason, the error says what was asked for.
func Listen(addr string, mayMove bool) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return nil, fmt.Errorf("listen on %q: port is not a number from 0 to 65535", addr)
	}
	tries := 1
	if mayMove && n > 0 {
		tries = portTries
	}
	var first error
	for i := 0; i < tries && n+i <= 65535; i++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+i)))
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, first)
}

// FreeAddr gives the address that [Listen] would listen on, for servers that
// want an address and not a listener. Another process may take the port before
// it is used; that server's start then fails.
func FreeAddr(addr string, mayMove bool) (string, error) {
	l, err := Listen(addr, mayMove)
	if err != nil {
		return "", err
	}
	free := l.Addr().String()
	return free, l.Close()
}
