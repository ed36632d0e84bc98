//go:build browser

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestSearchPageShowsALine writes lines to a file and looks for one of them on
// the search page, in Chromium. With SCREENSHOT set to a path, what the page
// shows is kept there.
func TestSearchPageShowsALine(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir, "*.log")
	const line = "GET /api/v1/items/42 took 17 ms"
	for i := range 40 {
		write(t, filepath.Join(dir, "access.log"), fmt.Sprintf(`{"level":"info","message":"GET /api/v1/items/%d took 17 ms"}`+"\n", 3+i))
	}
	eventually(t, "all lines", func() bool {
		rows, _ := p.count("*")
		return rows == 40
	})

	ctx, cancel := browser(t)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx,
		chromedp.EmulateViewport(1400, 900),
		chromedp.Navigate(p.Search+"/"),
	))
	found, err := chromedp.Run(ctx, chromedp.Poll[bool](
		fmt.Sprintf("document.body && document.body.innerText.includes(%q)", line), chromedp.WithPollingInterval(100*time.Millisecond)))
	require.NoError(t, err)
	require.True(t, found)
	if path := os.Getenv("SCREENSHOT"); path != "" {
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, png, 0o600))
	}
	require.Equal(t, 0, p.stop())
}

// browser starts a Chromium of its own that talks to nobody but the page.
func browser(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
	}
	ctx, cancelTime := context.WithTimeout(context.Background(), 90*time.Second)
	ctx, cancelAlloc := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancel := chromedp.NewContext(ctx)
	return ctx, func() {
		_ = chromedp.Cancel(ctx) // waits until the browser is gone
		cancel()
		cancelAlloc()
		cancelTime()
	}
}
