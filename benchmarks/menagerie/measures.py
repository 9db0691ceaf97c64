"""The species in numbers: the measures and colours that make one body plan a cat or a pig."""

from benchmarks.menagerie.scene import Scene
from benchmarks.menagerie.shapes import ABSENT, Color

# Measures in body lengths, angles in degrees; a column per species in the order of SPECIES.
# half_length is half the way from hip to shoulder, pitch the angle of the spine, hip its height,
# front the length of the front limbs, stance the legs' distance from the midline. The penguin's
# beak is a long nose.
#                    cat    dog    pig    cow    lion   tiger  squirrel penguin
MEASURES: dict[str, tuple[float, ...]] = {
    "half_length":   (0.26,  0.27,  0.27,  0.31,  0.27,  0.30,  0.15,  0.19),
    "pitch":         (3,     5,     0,     0,     6,     3,     38,    84),
    "hip":           (0.42,  0.43,  0.33,  0.44,  0.44,  0.42,  0.26,  0.26),
    "front":         (0.42,  0.43,  0.33,  0.44,  0.46,  0.43,  0.27,  0.36),
    "chest_r":       (0.150, 0.165, 0.235, 0.225, 0.185, 0.180, 0.120, 0.190),
    "rump_r":        (0.145, 0.145, 0.245, 0.225, 0.160, 0.170, 0.155, 0.240),
    "leg_r":         (0.058, 0.066, 0.078, 0.074, 0.078, 0.078, 0.052, 0.050),
    "stance":        (0.085, 0.090, 0.125, 0.125, 0.100, 0.100, 0.085, 0.120),
    "neck":          (0.26,  0.30,  0.27,  0.30,  0.27,  0.27,  0.20,  0.24),
    "neck_angle":    (38,    42,    12,    28,    36,    30,    55,    86),
    "head_r":        (0.175, 0.155, 0.180, 0.150, 0.170, 0.178, 0.130, 0.155),
    "snout":         (0.07,  0.18,  0.085, 0.13,  0.12,  0.10,  0.09,  0.03),
    "snout_r":       (0.085, 0.085, 0.098, 0.115, 0.095, 0.095, 0.062, 0.060),
    "snout_drop":    (0.055, 0.050, 0.040, 0.060, 0.060, 0.060, 0.040, 0.010),
    "nose":          (0.034, 0.048, 0.076, 0.070, 0.045, 0.040, 0.028, 0.060),
    "nose_length":   (0.00,  0.00,  0.02,  0.01,  0.00,  0.00,  0.00,  0.17),
    "eye":           (0.046, 0.042, 0.040, 0.040, 0.042, 0.042, 0.040, 0.040),
    "ear":           (0.19,  0.22,  0.13,  0.13,  0.08,  0.08,  0.10,  0),
    "ear_r":         (0.070, 0.060, 0.065, 0.050, 0.062, 0.062, 0.050, ABSENT),
    "ear_tip":       (0.010, 0.066, 0.012, 0.030, 0.052, 0.052, 0.016, ABSENT),
    "ear_up":        (0.95,  -0.85, 0.55,  -0.10, 0.75,  0.75,  1.00,  0),
    "ear_out":       (0.30,  0.50,  0.70,  1.00,  0.65,  0.65,  0.25,  0),
    "ear_spread":    (0.52,  0.78,  0.60,  0.80,  0.72,  0.70,  0.55,  0),
    "tail":          (0.55,  0.36,  0.16,  0.46,  0.50,  0.50,  0.66,  0.10),
    "tail_r":        (0.036, 0.036, 0.026, 0.024, 0.028, 0.034, 0.085, 0.060),
    "tail_mid":      (0.034, 0.032, 0.024, 0.022, 0.026, 0.034, 0.150, 0.040),
    "tail_tip":      (0.030, 0.022, 0.018, 0.052, 0.062, 0.032, 0.110, 0.020),
    "tail_angle":    (48,    40,    35,    -58,   -5,    10,    78,    -35),
    "tail_curl":     (14,    18,    70,    -8,    28,    22,    30,    0),
}  # fmt: skip

WHITE: Color = (0.93, 0.92, 0.89)
BLACK: Color = (0.10, 0.10, 0.12)
PINK: Color = (0.93, 0.60, 0.62)
CREAM: Color = (0.90, 0.83, 0.70)
MANE: Color = (0.42, 0.22, 0.10)
AMBER: Color = (0.98, 0.80, 0.25)
BEAK: Color = (0.96, 0.62, 0.10)
NOSE: dict[str, Color] = {  # of the others, black
    "pig": (0.84, 0.44, 0.50),
    "cow": (0.85, 0.62, 0.60),
    "penguin": BEAK,
    "cat": (0.80, 0.45, 0.47),
}
LIGHT_SNOUT = ("cat", "lion", "tiger", "squirrel")
LIGHT_BELLY = (*LIGHT_SNOUT, "penguin")
CREAM_BELLY = ("lion", "tiger", "squirrel")  # of the light ones; the others' is white
# What is worn, and what stands around, has one of these.
PALETTE: dict[str, Color] = {
    "red": (0.86, 0.13, 0.12),
    "blue": (0.13, 0.33, 0.85),
    "yellow": (0.96, 0.80, 0.12),
    "green": (0.13, 0.58, 0.25),
}
_NATURAL: dict[str, Color] = {
    "cat": (0.56, 0.57, 0.60),
    "dog": (0.50, 0.31, 0.17),
    "pig": (0.95, 0.64, 0.66),
    "cow": (0.92, 0.91, 0.88),
    "lion": (0.86, 0.64, 0.30),
    "tiger": (0.93, 0.52, 0.12),
    "squirrel": (0.66, 0.29, 0.12),
    "penguin": (0.13, 0.15, 0.22),
}
_COATS: dict[str, Color] = {
    "gray": (0.54, 0.54, 0.56),
    "white": (0.92, 0.91, 0.89),
    "black": (0.15, 0.14, 0.16),
    "brown": (0.44, 0.27, 0.15),
    "golden": (0.88, 0.67, 0.28),
    "orange": (0.94, 0.47, 0.10),
    "pink": (0.95, 0.58, 0.66),
    "green": (0.33, 0.66, 0.28),
    "blue": (0.27, 0.44, 0.78),
    "purple": (0.55, 0.32, 0.72),
    "spotted": (0.90, 0.76, 0.52),  # between the spots
    "striped": (0.96, 0.86, 0.68),  # between the stripes
}

_PATTERNS = {"cat": "tabby", "tiger": "striped", "cow": "patched"}


def coat_color(scene: Scene) -> Color:
    """The colour of the coat, in [0, 1]; `tint` makes it up to 8 % lighter or darker."""
    r, g, b = _NATURAL[scene.species] if scene.coat == "natural" else _COATS[scene.coat]
    shade = 1 + 0.08 * scene.tint
    return min(r * shade, 1.0), min(g * shade, 1.0), min(b * shade, 1.0)


def coat_pattern(scene: Scene) -> str:
    """The marks on the coat, which a coat that has marks replaces; empty for a plain one."""
    return scene.coat if scene.coat in ("spotted", "striped") else _PATTERNS.get(scene.species, "")
