"""Image quality metrics as plain functions of float64 arrays; `protocol_metrics.py` gives them settings.

- `ranges`: the intensity range that a figure refers to, and the common scale 0–255
- `fidelity`: PSNR and NRMSE
- `ssim`: structural similarity, in 2-D and 3-D
- `edges`: HFEN and GMSD
- `information`: VIF in the pixel domain, HaarPSI
- `fsim`: feature similarity, with its phase congruency
- `null_space`: what LR determines of a volume, and what it holds nothing of
- `bands`: energy by radial frequency
- `foreground`: the mask of the head

Most functions give *sums*, not the figure: a volume's figure is made of the sums over its slices, a slice's of its own.
"""
