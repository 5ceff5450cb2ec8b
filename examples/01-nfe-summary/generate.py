"""Writes automation.yaml from bot.py and files/, so that one `kubectl apply` carries the whole example."""

import base64
from pathlib import Path

HERE = Path(__file__).parent

TEMPLATE = """\
# Made by generate.py from bot.py and files/: change those, run it, apply this.
apiVersion: v1
kind: ConfigMap
metadata:
  name: nfe-awkward-files
  namespace: maestro-bots
data:
{texts}
binaryData:
{binaries}
---
apiVersion: rps-maestro.io/v1alpha1
kind: Automation
metadata:
  name: nfe-summary
  namespace: maestro-bots
spec:
  displayName: NF-e summary
  description: Count and totals of electronic invoices (NF-e layout 4.00) per issuer and month.
  parameterSchema:
    - {{name: samples, label: The sample invoices of nfelib, type: boolean}}
    - {{name: directory, label: Directory with further files, type: text, placeholder: /invoices}}
    - {{name: issuer, label: Only this CNPJ or CPF, type: text, placeholder: 34.128.745/0001-52}}
    - {{name: month, label: Only this month, type: text, placeholder: 2018-08}}
  defaultParams:
    samples: true
    directory: /invoices
  worker:
    resources:
      requests: {{cpu: 20m, memory: 96Mi}}
      limits: {{memory: 256Mi}}
    volumes:
      - name: invoices
        configMap: {{name: nfe-awkward-files}}
    volumeMounts:
      - {{name: invoices, mountPath: /invoices, readOnly: true}}
    script: |
{script}
"""


def rendered() -> str:
    files = sorted((HERE / "files").iterdir())
    texts = [path for path in files if is_text(path)]
    return TEMPLATE.format(
        texts="\n".join(f"  {path.name}: |\n{indented(path.read_text(), 4)}" for path in texts),
        binaries="\n".join(
            f'  {path.name}: "{base64.b64encode(path.read_bytes()).decode()}"'
            for path in files
            if path not in texts
        ),
        script=indented((HERE / "bot.py").read_text(), 6),
    )


def is_text(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8").endswith("\n")
    except UnicodeDecodeError:
        return False


def indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line if line else "" for line in text.splitlines())


if __name__ == "__main__":
    (HERE / "automation.yaml").write_text(rendered())
