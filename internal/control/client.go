package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Client asks a running gateway.
type Client struct {
	c  net.Conn
	in *bufio.Scanner
}

// Dial opens the socket of a running gateway. What is wrong with it is said in words
// for whoever typed the command.
func Dial(ctx context.Context, path string) (*Client, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no gateway listens at %s: is one running, and with this configuration?", path)
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("the gateway that listened at %s is gone: it was killed", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s is for the user alone that the gateway runs as", path)
	case err != nil:
		return nil, err
	}
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxAnswer)
	return &Client{c, in}, nil
}

// Close ends the connection.
func (c *Client) Close() { _ = c.c.Close() }

// Ask asks for one thing, and reads the result into a pointer, or nowhere if that is
// nil. The gateway's own error is returned as it says it.
func (c *Client) Ask(ctx context.Context, do string, args, result any) error {
	deadline, _ := ctx.Deadline() // the zero time: none
	_ = c.c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = c.c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(c.c).Encode(Request{Version: Version, Do: do, Args: raw}); err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	if !c.in.Scan() {
		if err := c.in.Err(); err != nil {
			return fmt.Errorf("the gateway's answer: %w", err)
		}
		return errors.New("the gateway has ended before it answered")
	}
	var a Answer
	if err := json.Unmarshal(c.in.Bytes(), &a); err != nil {
		return fmt.Errorf("the gateway's answer: %w", err)
	}
	switch {
	case a.Version != Version:
		return fmt.Errorf("the gateway speaks version %d, this program %d", a.Version, Version)
	case a.Error != "":
		return errors.New(a.Error)
	case result == nil:
		return nil
	}
	return json.Unmarshal(a.Result, result)
}
