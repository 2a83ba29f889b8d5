rule Miner_Configuration
{
    meta:
        description = "Configuration or command line of a cryptocurrency miner"
        severity = "high"
    strings:
        $pool = /stratum\+(tcp|ssl|tls):\/\/[A-Za-z0-9._-]{4,80}:[0-9]{2,5}/
        $name1 = "\"donate-level\"" ascii
        $name2 = "\"rig-id\"" ascii
        $name3 = "\"randomx\"" ascii
        $option1 = "--donate-level" ascii
        $option2 = /--algo(=|\s)(rx\/0|randomx|cn\/r|kawpow|ethash)/
        $option3 = "--cpu-max-threads-hint" ascii
        $option4 = "--randomx-1gb-pages" ascii
        $wallet1 = /"user"\s{0,4}:\s{0,4}"[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}/
        $wallet2 = /--user[= ][48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}/
    condition:
        filesize < 64KB and (($pool and (any of ($wallet*) or any of ($name*) or any of ($option*))) or (any of ($wallet*) and 2 of ($option*)))
}

rule Miner_Program
{
    meta:
        description = "An XMRig-like mining program"
        severity = "high"
    strings:
        $a1 = "stratum+tcp://" ascii
        $a2 = "stratum+ssl://" ascii
        $b1 = "cryptonight" ascii nocase
        $b2 = "randomx" ascii nocase
        $c1 = "donate-level" ascii
        $c2 = "rig-id" ascii
        $c3 = "cpu-max-threads-hint" ascii
        $c4 = "huge-pages-jit" ascii
        $c5 = "nicehash" ascii
    condition:
        (uint32(0) == 0x464C457F or uint16(0) == 0x5A4D) and filesize < 30MB and 1 of ($a*) and 1 of ($b*) and 3 of ($c*)
}
