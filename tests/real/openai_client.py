"""What an agent does with OpenAI's official SDK, unmodified: streams an answer to each prompt of the command line,
first from chat completions, then from responses.

Prints each event's text as a line of JSON the moment it arrives. Key and address come from OPENAI_API_KEY and
OPENAI_BASE_URL, as the SDK reads them.
"""

import json
import sys

import openai

client = openai.OpenAI(max_retries=0)


def chat(question):
    for chunk in client.chat.completions.create(model="gpt-test", messages=[question], stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def responses(question):
    for event in client.responses.create(model="gpt-test", input=[question], stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta


for prompt in sys.argv[1:]:
    for api in (chat, responses):
        outcome = {"api": api.__name__, "prompt": prompt}
        try:
            deltas = []
            for text in api({"role": "user", "content": prompt}):
                deltas.append(text)
                print(json.dumps({**outcome, "delta": text}), flush=True)
            print(json.dumps({**outcome, "text": "".join(deltas)}), flush=True)
        except openai.APIStatusError as error:
            print(json.dumps({**outcome, "status": error.status_code, "body": error.response.text}), flush=True)
