package index

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/logferry/logferry/config"
)

// fakeCluster keeps templates and policies, and knows the words it is told.
type fakeCluster struct {
	*httptest.Server
	unknown   []string // words that make a template invalid
	noILM     string   // the answer's body when there is no lifecycle management
	status    int      // of an answer to everything, 0 for the usual ones
	templates map[string]json.RawMessage
	policies  map[string]json.RawMessage
	writes    []string
}

func newCluster(t *testing.T) *fakeCluster {
	c := &fakeCluster{templates: map[string]json.RawMessage{}, policies: map[string]json.RawMessage{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	answer := func(status int, format string, args ...any) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
	if r.Method == http.MethodPut {
		c.writes = append(c.writes, r.URL.Path)
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case c.status != 0:
		answer(c.status, `{"error":{"type":"security_exception","reason":"action [cluster:admin] is unauthorized for user [x]"},"status":%d}`, c.status)
	case strings.HasPrefix(r.URL.Path, "/_ilm/") && c.noILM != "":
		answer(http.StatusBadRequest, "%s", c.noILM)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/_ilm/policy/"):
		if c.policies[name] == nil {
			answer(404, `{"error":{"type":"resource_not_found_exception","reason":"Lifecycle policy not found: %s"},"status":404}`, name)
			return
		}
		answer(200, `{%q:{"version":1,%s}`, name, c.policies[name][1:])
	case strings.HasPrefix(r.URL.Path, "/_ilm/policy/"):
		c.policies[name] = body
		answer(200, `{"acknowledged":true}`)
	case strings.HasPrefix(r.URL.Path, "/_index_template/_simulate/"):
		for _, word := range c.unknown {
			if strings.Contains(string(body), word) {
				answer(400, `{"error":{"type":"illegal_argument_exception","reason":"composable template [x] is invalid","caused_by":{"type":"a","reason":"b","caused_by":{"type":"mapper_parsing_exception","reason":"No handler for [%s]"}}},"status":400}`, word)
				return
			}
		}
		answer(200, `{"template":{},"overlapping":[{"name":"others","index_patterns":["web*"]}]}`)
	case r.Method == http.MethodGet:
		if c.templates[name] == nil {
			answer(404, `{"error":{"type":"resource_not_found_exception"},"status":404}`)
			return
		}
		answer(200, `{"index_templates":[{"name":%q,"index_template":%s}]}`, name, c.templates[name])
	default:
		c.templates[name] = body
		answer(200, `{"acknowledged":true}`)
	}
}

func setupRoutes() []config.Route {
	return []config.Route{
		{Name: "web", Topics: []string{"web_log"}, Index: "web-{+2006.01.02}"},
		{Name: "web/2", Topics: []string{"web2_log"}, Index: "web-{+2006.01}"},
		{Name: "App", Topics: []string{"app.Log", "b"}, Index: "{topic}", DataStream: true},
		{Name: "any", Topics: []string{"/.*/"}, Index: "{topic}"},
	}
}

func results(actions []SetupAction) (list []string) {
	for _, a := range actions {
		list = append(list, strings.TrimSpace(a.Kind+" "+a.Name+" "+a.Result))
	}
	return list
}

func TestSetup(t *testing.T) {
	c := newCluster(t)
	client := testClient(t, c.URL)
	o := SetupOptions{Retention: 90 * 24 * time.Hour, DryRun: true}
	first := []string{"lifecycle policy logferry-streams created", "lifecycle policy logferry-indices created",
		"index template  skipped", "index template logferry-web created", "index template logferry-app created"}
	done, err := client.Setup(context.Background(), setupRoutes(), o)
	require.NoError(t, err)
	require.Equal(t, first, results(done))
	require.Empty(t, c.writes, "a dry run changes nothing")

	o.DryRun = false
	done, err = client.Setup(context.Background(), setupRoutes(), o)
	require.NoError(t, err)
	require.Equal(t, first, results(done))
	require.Equal(t, []string{"/_ilm/policy/logferry-streams", "/_ilm/policy/logferry-indices",
		"/_index_template/logferry-web", "/_index_template/logferry-app"}, c.writes)
	require.Equal(t, []string{"web", "web/2"}, done[3].Routes, "one template for one pattern")
	require.Equal(t, []string{"app.log", "b"}, done[4].Patterns)
	require.Contains(t, done[2].Note, "every index of the cluster")
	require.Contains(t, done[3].Note, `template "others" is for some of the same indices`)
	require.JSONEq(t, `{"hot":{"min_age":"0ms","actions":{"rollover":{"max_age":"30d","max_primary_shard_size":"50gb"}}},
		"delete":{"min_age":"7776000s","actions":{"delete":{}}}}`, field(t, c.policies["logferry-streams"], "policy", "phases"))
	require.JSONEq(t, `"logferry-streams"`, field(t, c.templates["logferry-app"], "template", "settings", "index.lifecycle.name"))
	require.JSONEq(t, `{}`, field(t, c.templates["logferry-app"], "data_stream"))
	require.JSONEq(t, `"logferry-indices"`, field(t, c.templates["logferry-web"], "template", "settings", "index.lifecycle.name"))
	require.Empty(t, field(t, c.templates["logferry-web"], "data_stream"))

	c.writes = nil
	done, err = client.Setup(context.Background(), setupRoutes(), o)
	require.NoError(t, err)
	require.Empty(t, c.writes, "a second run changes nothing")
	require.Equal(t, "unchanged", done[0].Result)
	require.Equal(t, "unchanged", done[3].Result)

	o.Retention = 0
	c.templates["logferry-app"] = json.RawMessage(`{"index_patterns":["app.log"],"_meta":{"managed_by":"me"}}`)
	done, err = client.Setup(context.Background(), setupRoutes(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"lifecycle policy logferry-streams updated", "index template  skipped",
		"index template logferry-web updated", "index template logferry-app skipped"}, results(done))
	require.Equal(t, "it is there, and not made by logferry", done[3].Note)
	require.Empty(t, field(t, c.policies["logferry-streams"], "policy", "phases", "delete"), "nothing is deleted unasked")
	require.Empty(t, field(t, c.templates["logferry-web"], "template", "settings", "index.lifecycle.name"))
}

func TestSetupLeavesOutWhatTheClusterLacks(t *testing.T) {
	for _, noILM := range []string{
		`{"error":"no handler found for uri [/_ilm/policy/x] and method [GET]"}`,
		`{"error":{"type":"api_not_available_exception","reason":"Request for uri [/_ilm] is not available when running in serverless mode"}}`,
	} {
		c := newCluster(t)
		c.unknown, c.noILM = []string{"match_only_text", "ignore_dynamic_beyond_limit", "index.lifecycle"}, noILM
		done, err := testClient(t, c.URL).Setup(context.Background(), setupRoutes(), SetupOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{"lifecycle policy logferry-streams skipped", "index template  skipped",
			"index template logferry-web created", "index template logferry-app created"}, results(done))
		require.Contains(t, done[3].Note, "no match_only_text, so text is used")
		require.Contains(t, done[3].Note, "no lifecycle management")
		require.JSONEq(t, `{"type":"text"}`, field(t, c.templates["logferry-web"], "template", "mappings", "properties", "message"))
	}
}

func TestSetupSaysWhyItCannot(t *testing.T) {
	c := newCluster(t)
	c.unknown = []string{"dynamic_templates"}
	_, err := testClient(t, c.URL).Setup(context.Background(), setupRoutes(), SetupOptions{})
	require.ErrorContains(t, err, `index template "logferry-web": 400 Bad Request`)
	require.ErrorContains(t, err, "No handler for [dynamic_templates]", "the last cause")
	require.Empty(t, c.templates)

	c.status = http.StatusForbidden
	_, err = testClient(t, c.URL).Setup(context.Background(), setupRoutes(), SetupOptions{})
	require.ErrorContains(t, err, `read lifecycle policy "logferry-streams": 403 Forbidden`)
	require.ErrorContains(t, err, "is unauthorized for user [x]")

	url := c.URL
	c.Close()
	_, err = testClient(t, url).Setup(context.Background(), setupRoutes(), SetupOptions{})
	require.ErrorContains(t, err, "connection refused")
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		index   string
		topics  []string
		allowed []string
		want    []string
		dated   bool
	}{
		{"web", nil, nil, []string{"web"}, false},
		{"web-{topic}-{node}-{+2006.01}", nil, nil, []string{"web-*-*-*"}, true},
		{"web-{topic}{node}", nil, nil, []string{"web-*"}, false},
		{"{topic}-{+2006}", []string{"B x", "a"}, nil, []string{"a-*", "b_x-*"}, true},
		{"{topic}", []string{"/a.*/"}, []string{"shop-?", "app-*"}, []string{"app-*", "shop-*"}, false},
		{"{node}", []string{"a"}, []string{"*"}, nil, false},
		{"{node}", []string{"a"}, nil, nil, false},
	} {
		got, dated, err := patternsOf(config.Route{Index: test.index, Topics: test.topics}, test.allowed)
		if test.want == nil {
			require.ErrorContains(t, err, "every index of the cluster")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.want, got)
		require.Equal(t, test.dated, dated)
	}
}

func TestTemplateNamesAreUnique(t *testing.T) {
	names := map[string]bool{}
	require.Equal(t, "logferry-a_b", templateName("a/b", names))
	require.Equal(t, "logferry-a_b-2", templateName("A/B", names))
	require.Equal(t, "logferry-a_b-3", templateName("a_b", names))
}

// TestTemplateToApplyByHand keeps the file for those who use other tools.
func TestTemplateToApplyByHand(t *testing.T) {
	f := family{patterns: []string{"logferry-*"}}
	want, err := json.Marshal(f.template(features{onlyText: true, lenient: true}, ""))
	require.NoError(t, err)
	file, err := os.ReadFile("../../deploy/elastic/index-template.json")
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(file, &got))
	delete(got, "_meta")
	file, err = json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(file))
}

// field returns a member of a JSON object, by its path, or "".
func field(t *testing.T, body json.RawMessage, path ...string) string {
	for _, name := range path {
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &members))
		if body = members[name]; body == nil {
			return ""
		}
	}
	return string(body)
}
