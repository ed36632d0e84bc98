package config

import (
	"cmp"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// check holds the rules of the whole file that no tag can say.
func (c *Config) check(d *decoder) {
	if !nodeName.MatchString(c.Node) {
		d.fail("node", "%q is not a node name; use at most 200 letters, digits, '.', '_' and '-'", c.Node)
	}
	c.checkLabels(d)
	if c.DataDir == "" {
		d.fail("data_dir", "is required")
	}
	c.Admin.check(d)
	if c.Etcd != nil {
		c.Etcd.check(d)
	}
	checkAddresses(d, "kafka.brokers", c.Kafka.Brokers, checkHostPort)
	c.Kafka.TLS.check(d, "kafka.tls")
	c.Elasticsearch.check(d)
	c.Agent.checkLocal(d, c.Etcd != nil)
	c.Agent.check(d, "agent", c.Node)
	c.Transfer.check(d, "transfer", c.Elasticsearch.AllowedIndices)
}

// maxLabels bounds the documents that a node reads.
const maxLabels = 16

func (c *Config) checkLabels(d *decoder) {
	if len(c.Labels) > maxLabels {
		d.fail("labels", "holds %d labels; at most %d are allowed", len(c.Labels), maxLabels)
	}
	for key, value := range c.Labels {
		for _, word := range []string{key, value} {
			if !labelWord.MatchString(word) {
				d.fail(join("labels", key), "%q is not a word; use at most 100 letters, digits, '.', '_' and '-'", word)
			}
		}
	}
}

func (a *Admin) check(d *decoder) {
	if a.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(a.Listen)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > 65535 {
		d.fail("admin.listen", "%q is not host:port", a.Listen)
		return
	}
	if ip := net.ParseIP(host); a.TokenFile == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		d.fail("admin.listen", "%s can be reached from other hosts; set admin.token_file, or listen on 127.0.0.1", a.Listen)
	}
	if a.TokenFile == "" {
		return
	}
	if token, err := readSecret(a.TokenFile); err != nil {
		d.fail("admin.token_file", "%s", err)
	} else if token == "" {
		d.fail("admin.token_file", "%s is empty", a.TokenFile)
	}
}

func (e *Etcd) check(d *decoder) {
	checkAddresses(d, "etcd.endpoints", e.Endpoints, func(s string) string {
		if _, address, isURL := strings.Cut(s, "://"); isURL {
			return cmp.Or(checkURL(s), checkHostPort(address))
		}
		return checkHostPort(s)
	})
	e.Prefix = strings.TrimRight(e.Prefix, "/")
	if !strings.HasPrefix(e.Prefix, "/") || len(e.Prefix) > 500 {
		d.fail("etcd.prefix", "must begin with / and a name")
	}
	if len(e.SeedKey) > 500 {
		d.fail("etcd.seed_key", "is longer than 500 bytes")
	}
	checkLogin(d, "etcd", e.Username, e.Password)
	e.TLS.check(d, "etcd.tls")
}

func (e *Elasticsearch) check(d *decoder) {
	checkAddresses(d, "elasticsearch.addresses", e.Addresses, checkURL)
	checkLogin(d, "elasticsearch", e.Username, e.Password)
	if e.APIKey != "" && e.Username != "" {
		d.fail("elasticsearch.api_key", "excludes elasticsearch.username; write one of them")
	}
	e.TLS.check(d, "elasticsearch.tls")
	checkWildcards(d, "elasticsearch.allowed_indices", e.AllowedIndices)
}

func checkLogin(d *decoder, section, username string, password Secret) {
	switch {
	case username != "" && password == "" && !d.failed(section+".password"):
		d.fail(section+".username", "needs %s.password or %s.password_file", section, section)
	case username == "" && password != "":
		d.fail(section+".username", "is required with a password")
	}
}

// checkLocal holds the rules of what only the file says, and settles what its defaults depend on.
func (a *Agent) checkLocal(d *decoder, etcd bool) {
	checkWildcards(d, "agent.allowed_topics", a.AllowedTopics)
	if a.AllowedPaths == nil && etcd {
		a.AllowedPaths = []string{"/var/log"}
	}
	if a.AllowedPaths != nil && len(a.AllowedPaths) == 0 {
		d.fail("agent.allowed_paths", "is empty; name at least one folder, / for every path")
	}
	for i, p := range a.AllowedPaths {
		abs, err := filepath.Abs(p)
		if p == "" || err != nil {
			d.fail(item("agent.allowed_paths", i), "%q is not a path", p)
			continue
		}
		a.AllowedPaths[i] = abs
	}
}

func checkAddresses(d *decoder, key string, addresses []string, check func(string) string) {
	if len(addresses) == 0 {
		d.fail(key, "is empty; name at least one address")
	}
	for i, a := range addresses {
		if wrong := check(a); wrong != "" {
			d.fail(item(key, i), "%s", wrong)
		}
	}
}

func checkHostPort(s string) string {
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || bad != nil || n == 0 || strings.ContainsAny(host, "/@ ") {
		return strconv.Quote(s) + " is not host:port"
	}
	return ""
}

// checkURL does not quote an address that holds a password.
func checkURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		if strings.Contains(s, "@") {
			return "is not an http:// or https:// address"
		}
		return strconv.Quote(s) + " is not an http:// or https:// address"
	case u.User != nil:
		return "an address holds no user and password; write them as username and password_file"
	case u.RawQuery != "" || u.Fragment != "":
		return strconv.Quote(s) + " goes on after the path"
	}
	return ""
}

func checkWildcards(d *decoder, key string, globs []string) {
	if len(globs) == 0 {
		d.fail(key, "is empty; write ['*'] to allow every name")
	}
	for i, g := range globs {
		if !wildcards.MatchString(g) {
			d.fail(item(key, i), "%q is not a name with * and ?", g)
		}
	}
}

func item(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
