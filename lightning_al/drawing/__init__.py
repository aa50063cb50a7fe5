"""How things are drawn, whatever they are: figures, HTML, curves."""
