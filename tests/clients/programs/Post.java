// A program that uses Java's HTTP client as its documentation shows it: posts random bytes to a server that sends them
// back, and prints a line of JSON.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Arrays;
import java.util.Random;

public class Post {
    public static void main(String[] arguments) throws Exception {
        byte[] sent = new byte[200000];
        new Random().nextBytes(sent);
        HttpRequest request = HttpRequest.newBuilder(URI.create("https://front.example.com/echo"))
            .header("Authorization", "Bearer " + System.getenv("FRONT_TOKEN"))
            .POST(HttpRequest.BodyPublishers.ofByteArray(sent))
            .build();
        HttpResponse<byte[]> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofByteArray());
        boolean same = Arrays.equals(response.body(), sent);
        System.out.printf(
            "{\"status\": %d, \"same\": %b, \"protocol\": \"%s\"}%n", response.statusCode(), same, response.version());
    }
}
