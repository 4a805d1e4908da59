"""The colours of boxes and lines. No meaning depends on them alone: each status is also written."""

from typing import NamedTuple


class Paint(NamedTuple):
    """The colours of a box: its ground, its border, and its text."""

    fill: str
    line: str
    ink: str


LIGHT = {
    "plain": Paint("#ffffff", "#64748b", "#0f172a"),
    "undo": Paint("#fffbeb", "#b45309", "#0f172a"),
    "pivot": Paint("#eff6ff", "#1d4ed8", "#0f172a"),
    "event": Paint("#ecfeff", "#0e7490", "#0f172a"),
    "held": Paint("#f8fafc", "#94a3b8", "#475569"),
    "pending": Paint("#f8fafc", "#94a3b8", "#475569"),
    "running": Paint("#dbeafe", "#2563eb", "#1e3a8a"),
    "completed": Paint("#dcfce7", "#16a34a", "#14532d"),
    "failed": Paint("#fee2e2", "#dc2626", "#7f1d1d"),
    "skipped": Paint("#f1f5f9", "#94a3b8", "#475569"),
    "compensating": Paint("#fef3c7", "#d97706", "#78350f"),
    "compensated": Paint("#f3e8ff", "#9333ea", "#581c87"),
}
DARK = {
    "plain": Paint("#1e293b", "#94a3b8", "#f1f5f9"),
    "undo": Paint("#2b2416", "#d9a441", "#f1f5f9"),
    "pivot": Paint("#172554", "#60a5fa", "#f1f5f9"),
    "event": Paint("#10303a", "#67d3e8", "#f1f5f9"),
    "held": Paint("#162032", "#64748b", "#a8b4c6"),
    "pending": Paint("#162032", "#64748b", "#a8b4c6"),
    "running": Paint("#172f63", "#60a5fa", "#dbeafe"),
    "completed": Paint("#10331f", "#4ade80", "#dcfce7"),
    "failed": Paint("#451a1a", "#f87171", "#fee2e2"),
    "skipped": Paint("#1a2434", "#64748b", "#a8b4c6"),
    "compensating": Paint("#3d2a0c", "#fbbf24", "#fef3c7"),
    "compensated": Paint("#331a4d", "#c084fc", "#f3e8ff"),
}
#: Everything that is not a box, light and dark.
SURFACES = {
    "ground": ("#ffffff", "#0f172a"),
    "forward": ("#475569", "#cbd5e1"),
    "backward": ("#b45309", "#f0b445"),
    "untaken": ("#cbd5e1", "#475569"),  # a path that the instance did not take
    "no-return": ("#1d4ed8", "#60a5fa"),
    "published": ("#0e7490", "#67d3e8"),
    "strong": ("#0f172a", "#f1f5f9"),
    "muted": ("#475569", "#b4c0d0"),
    "alarm": ("#b91c1c", "#fca5a5"),
    "block": ("#f1f5f9", "#172033"),
}
