// A program that uses Go's HTTP client as its documentation shows it: posts random bytes to a server that sends them
// back, and prints a line of JSON.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	sent := make([]byte, 200000)
	if _, err := rand.Read(sent); err != nil {
		log.Fatal(err)
	}
	request, err := http.NewRequest("POST", "https://front.example.com/echo", bytes.NewReader(sent))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("FRONT_TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	came, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"status": response.StatusCode, "same": bytes.Equal(came, sent), "protocol": response.Proto,
	})
}
