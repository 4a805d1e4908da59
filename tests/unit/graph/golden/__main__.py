from tests.unit.graph.golden import drawn

for path, text in drawn().items():
    path.write_text(text, encoding="utf-8")
