//go:build browser

package embedded

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestSearchPageShowsALine opens the search page in Chromium. With SCREENSHOT
// set to a path, what the page shows is kept there.
func TestSearchPageShowsALine(t *testing.T) {
	s := startStore(t, t.TempDir())
	const line = "GET /api/v1/items/42 took 17 ms"
	now := time.Now()
	var lines []string
	for i := range 40 {
		text, level := fmt.Sprintf("GET /api/v1/items/%d took %d ms", i, 3+i*7%23), "info"
		if i%13 == 12 {
			text, level = fmt.Sprintf("GET /api/v1/items/%d: upstream closed the connection", i), "error"
		}
		if i == 39 {
			text = line
		}
		lines = append(lines, action("web_log", fmt.Sprint(i)), fmt.Sprintf(
			`{"@timestamp":%q,"level":%q,"message":%q,"host":{"name":"web-1"},"log":{"file":{"path":"/var/log/web/access.log"},"offset":%d}}`,
			now.Add(time.Duration(i-40)*3*time.Second).UTC().Format(time.RFC3339Nano), level, text, i*180))
	}
	require.False(t, bulk(t, s, lines...).Errors)
	s.logs.flush()

	ctx, cancel := browser(t)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx,
		chromedp.EmulateViewport(1400, 900),
		chromedp.Navigate(s.SearchURL()+"/"),
	))
	found, err := chromedp.Run(ctx, chromedp.Poll[bool](
		fmt.Sprintf("document.body && document.body.innerText.includes(%q)", line), chromedp.WithPollingInterval(100*time.Millisecond)))
	require.NoError(t, err)
	require.True(t, found)
	if path := os.Getenv("SCREENSHOT"); path != "" {
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, png, 0o644))
	}
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
