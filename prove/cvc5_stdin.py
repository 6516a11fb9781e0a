#!/usr/bin/env python3
"""cvc5 as a program that reads SMT-LIB 2 from standard input, out of the Python package `cvc5`.

The package holds the library and no executable. `pip install cvc5`, then name this file in $CVC5.
Takes `--tlimit-per=MS` (and `--tlimit=MS`, which means the same here); other arguments are for the executable.
"""
import sys

import cvc5


class Session:
    """A solver and what was declared in it."""

    def __init__(self, options):
        manager = cvc5.TermManager()
        self.solver = cvc5.Solver(manager)
        for name, value in options:
            self.solver.setOption(name, value)
        self.symbols = cvc5.SymbolManager(manager)
        self.parser = cvc5.InputParser(self.solver, self.symbols)

    def run(self, text):
        """Runs one command and prints what it answers."""
        self.parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "stdin")
        while True:
            command = self.parser.nextCommand()
            if command.isNull():
                return
            answer = command.invoke(self.solver, self.symbols)
            if answer:
                print(answer, end="" if answer.endswith("\n") else "\n", flush=True)


def options(arguments):
    """The options that are known here."""
    found = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in ("--tlimit", "--tlimit-per"):
            found.append(("tlimit-per", value))
    return found


def commands(lines):
    """Splits the input into whole commands: parentheses balance outside strings, quoted names and comments."""
    held, depth, quote = "", 0, ""
    for line in lines:
        for character in line:
            if quote:
                quote = "" if character == quote else quote
            elif character in '"|':
                quote = character
            elif character == ";":
                break
            elif character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
        held += line
        if depth == 0 and not quote and held.strip():
            yield held
            held = ""


def main():
    wanted = options(sys.argv[1:])
    session = Session(wanted)
    for text in commands(sys.stdin):
        word = text.strip()
        if word.startswith("(exit"):
            return
        if word == "(reset)":
            # The parser would go on with the logic that was set before.
            session = Session(wanted)
            continue
        try:
            session.run(text)
        except Exception as problem:  # the solver's own, of any kind
            told = str(problem).replace('"', "'").replace("\n", " ")
            print(f'(error "{told}")', flush=True)


main()
