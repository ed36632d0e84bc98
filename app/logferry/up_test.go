package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func put(t *testing.T, endpoint, key, value string) {
	t.Helper()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	_, err = etcd.Put(context.Background(), key, value)
	require.NoError(t, err)
	require.NoError(t, etcd.Close())
}

func TestUpFollowsTheSeed(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	put(t, p.Etcd, "/collect_log_conf", `[{"path":"./xx.log","topic":"web_log"},{"path":"./xy.log","topic":"shop_log"}]`)
	write(t, filepath.Join(dir, "xx.log"), `{"time":"123","code":"200","msg":"ok"}`+"\n")
	write(t, filepath.Join(dir, "xy.log"), `{"time":"321","code":"500","msg":"not ok"}`+"\n")
	for index, code := range map[string]string{"web_log": "200", "shop_log": "500"} {
		eventually(t, index, func() bool { return len(p.query(`{index="`+index+`"}`)) == 1 })
		row := p.query(`{index="` + index + `"}`)[0]
		require.Equal(t, code, row["code"])
		require.NotEmpty(t, row["host.name"])
		require.Contains(t, row["log.file.path"], dir)
	}
	put(t, p.Etcd, "/collect_log_conf", `[{"path":"./zz.log","topic":"web_log"}]`)
	write(t, filepath.Join(dir, "zz.log"), "from zz\n")
	eventually(t, "the new tail", func() bool { return len(p.query(`{index="web_log"} "from zz"`)) == 1 })
	write(t, filepath.Join(dir, "xx.log"), "unread\n")
	write(t, filepath.Join(dir, "zz.log"), "again\n")
	eventually(t, "the new tail", func() bool { return len(p.query(`{index="web_log"} again`)) == 1 })
	require.Empty(t, p.query(`unread`))
	require.Equal(t, 0, p.stop())
}

// TestUpSurvivesKills kills everything at once, again and again, while lines
// are written, and asks for each line once.
func TestUpSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "app.log")
	total := 0
	lines := func(n int) {
		var b strings.Builder
		for range n {
			fmt.Fprintf(&b, "line %07d %s\n", total, strings.Repeat("x", 150))
			total++
		}
		write(t, file, b.String())
	}
	lines(20_000)
	var p *process
	for round := range 5 {
		p = up(t, dir, "*.log")
		for range 10 {
			lines(2000)
			time.Sleep(time.Duration(5*(round+1)) * time.Millisecond)
		}
		if round < 4 {
			p.kill()
		}
	}
	eventually(t, "all lines", func() bool {
		rows, different := p.count(`{index="logs"}`)
		t.Logf("%d rows, %d lines, %d written", rows, different, total)
		return different == total
	})
	rows, different := p.count(`{index="logs"}`)
	require.Equal(t, total, different)
	require.Equal(t, total, rows, "none twice")
	require.Equal(t, 0, p.stop())

	p = up(t, dir, "*.log")
	rows, _ = p.count(`{index="logs"}`)
	require.Equal(t, total, rows, "all there after an orderly restart")
	require.Equal(t, 0, p.stop())
}

func TestASecondUpOnTheSameDirSaysSo(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	_, errs, status := run(t, dir, "up", "--dir", "state", "--etcd-port", "0", "--kafka-port", "0", "--console-port", "0")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "in use by another process")
	require.Equal(t, 0, p.stop())
}
