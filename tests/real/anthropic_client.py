"""What an agent does with Anthropic's official SDK, unmodified: streams an answer to each prompt of the command line.

Prints each event's text as a line of JSON the moment it arrives. Key and address come from ANTHROPIC_API_KEY and
ANTHROPIC_BASE_URL, as the SDK reads them.
"""

import json
import sys

import anthropic

client = anthropic.Anthropic(max_retries=0)
for prompt in sys.argv[1:]:
    try:
        question = {"role": "user", "content": prompt}
        with client.messages.stream(model="claude-test", max_tokens=64, messages=[question]) as stream:
            for text in stream.text_stream:
                print(json.dumps({"prompt": prompt, "delta": text}), flush=True)
            whole = stream.get_final_message()
        print(json.dumps({"prompt": prompt, "text": whole.content[0].text, "stop": whole.stop_reason}), flush=True)
    except anthropic.APIStatusError as error:
        outcome = {"prompt": prompt, "status": error.status_code, "body": error.response.text}
        print(json.dumps(outcome), flush=True)
