// In hexadecimal, so that this file is not what it looks for.
rule EICAR_Test_File
{
    meta:
        description = "The EICAR anti-malware test file: harmless, made to be found"
        severity = "low"
    strings:
        $start = { 58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D 24 45 49 43 41 52 2D [4-12] 2D 41 4E 54 49 56 49 52 55 53 }
    condition:
        $start in (0..4096) and filesize < 1MB
}
